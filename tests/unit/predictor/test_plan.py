import pytest

from adapter_predictor.errors import PlanError
from adapter_predictor.plan import Plan, Pool, pool_name, replica_name, to_fleet


def pool(slots=8, rank=16, replicas=1):
    return Pool(name=pool_name(slots, rank), replicas=replicas, max_loras=slots, max_lora_rank=rank)


@pytest.fixture
def plan():
    shared = pool(replicas=2)
    first, second = shared.replica_names()
    return Plan.build((shared,), {first: {"a": 0.25, "b": 1.0}, second: {"a": 0.75}})


def test_pools_are_named_by_their_engine_configuration():
    assert pool_name(8, 16) == pool_name(8, 16)
    names = {pool_name(8, 16), pool_name(16, 16), pool_name(8, 32), pool_name(8, 16, "other engine")}
    assert len(names) == 4
    assert all(name.startswith("p-") and len(name) == 10 for name in names)


def test_counts_and_lookups(plan):
    assert plan.replicas == 2
    assert plan.gpus(4) == 8
    assert plan.shares["a"] == {
        replica_name(plan.pools[0].name, 0): 0.25,
        replica_name(plan.pools[0].name, 1): 0.75,
    }


def test_json_round_trip_keeps_the_hash(plan):
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.hash == plan.hash
    assert len(plan.hash) == 10


def test_hash_depends_on_content_not_on_order(plan):
    turned = Plan(
        pools=plan.pools,
        assignment={name: dict(reversed(held.items())) for name, held in reversed(plan.assignment.items())},
    )
    assert turned.hash == plan.hash
    other = Plan.build(plan.pools, {**plan.assignment, next(iter(plan.assignment)): {"a": 0.25, "c": 1.0}})
    assert other.hash != plan.hash


def test_a_plan_cannot_be_changed(plan):
    with pytest.raises(ValueError, match="frozen"):
        plan.pools = ()


def test_replicas_may_be_empty_but_not_missing():
    one = pool()
    name = replica_name(one.name, 0)
    assert Plan.build((one,), {}).assignment == {name: {}}
    with pytest.raises(ValueError, match=f"the replica {name} is missing"):
        Plan(pools=(one,), assignment={})


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ({"p-none-0": {"a": 1.0}}, "assignment: p-none-0 is no replica"),
        ({"0": {"a": 0.5}}, "the shares of a add up to 0.5, not to 1"),
        ({"0": {"a": 1.0}, "1": {"a": 0.1}}, "the shares of a add up to 1.1, not to 1"),
        ({"0": {"a": 0.0}}, "greater than 0"),
        ({"0": {"a": 2.0}}, "less than or equal to 1"),
    ],
)
def test_contradictions_are_named(assignment, message):
    shared = pool(replicas=2)
    named = {replica_name(shared.name, int(k)) if k.isdigit() else k: v for k, v in assignment.items()}
    with pytest.raises(PlanError, match="plan: .*" + message):
        Plan.build((shared,), named)


def test_pools_are_unique():
    with pytest.raises(PlanError, match="is there twice"):
        Plan.build((pool(), pool()), {})


def test_ranks_are_those_of_vllm():
    with pytest.raises(ValueError, match="12 is not one of 1, 8, 16"):
        pool(rank=12)


def test_text_that_is_no_plan():
    with pytest.raises(PlanError, match="not JSON"):
        Plan.from_json("{")
    with pytest.raises(PlanError, match="plan: pools"):
        Plan.from_json('{"assignment": {}}')


def test_fleet_of_a_plan(plan):
    fleet = to_fleet(plan, max_cpu_loras=100)
    assert [replica.name for replica in fleet] == list(plan.assignment)
    assert fleet[0].shares == (("a", 0.25), ("b", 1.0))
    assert (fleet[1].config.max_loras, fleet[1].config.max_lora_rank) == (8, 16)
    assert fleet[0].config.max_cpu_loras == 100
