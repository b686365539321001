import math

from hypothesis import given
from hypothesis import strategies as st

from adapter_predictor.plan import Plan, Pool, pool_name, to_fleet

ADAPTERS = st.text("abcdefg/-", min_size=1, max_size=6)


@st.composite
def plans(draw):
    kind = st.tuples(st.sampled_from([8, 16, 32]), st.sampled_from([8, 16]))
    pools = tuple(
        Pool(
            name=pool_name(slots, rank), replicas=draw(st.integers(1, 3)), max_loras=slots, max_lora_rank=rank
        )
        for slots, rank in sorted(draw(st.sets(kind, min_size=1, max_size=3)))
    )
    names = [name for pool in pools for name in pool.replica_names()]
    assignment = {name: {} for name in names}
    for adapter in draw(st.sets(ADAPTERS, max_size=8)):
        homes = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        weights = [draw(st.integers(1, 9)) for _ in homes]
        for home, weight in zip(homes, weights, strict=True):
            assignment[home][adapter] = weight / sum(weights)
    return Plan.build(pools, assignment)


@given(plans())
def test_json_round_trip(plan):
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(plan.to_json()).hash == plan.hash


@given(plans())
def test_shares_add_up_and_turn_around(plan):
    assert all(math.isclose(sum(shares.values()), 1.0) for shares in plan.shares.values())
    pairs = {(r, a, s) for r, held in plan.assignment.items() for a, s in held.items()}
    assert pairs == {(r, a, s) for a, shares in plan.shares.items() for r, s in shares.items()}


@given(plans())
def test_the_fleet_is_the_plan(plan):
    fleet = to_fleet(plan)
    assert {replica.name: dict(replica.shares) for replica in fleet} == plan.assignment
    assert len(fleet) == plan.replicas == plan.gpus()
