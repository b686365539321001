"""Rollouts as sequences of fleets: never too many GPUs, never too few copies."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_twin.errors import WorkloadError
from adapter_twin.fleet import Fleet, FleetReplica, Rollout, rollout_stages
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload import Adapter

SMALL, LARGE = ReplicaConfig(8, 8), ReplicaConfig(16, 16)


def pool(name, config, *held):
    """A replica for each collection of adapters, which share its traffic evenly over the pool."""
    copies = {adapter: sum(adapter in one for one in held) for one in held for adapter in one}
    return [
        FleetReplica(f"{name}-{i}", config, tuple((adapter, 1 / copies[adapter]) for adapter in one))
        for i, one in enumerate(held)
    ]


def adapters(*names, rate=1.0):
    return [Adapter(name, rate, 8) for name in names]


def names(fleet):
    return list(fleet.by_name)


def test_enough_gpus_need_one_stage():
    before, after = Fleet.of(pool("p", SMALL, "ab", "cd")), Fleet.of(pool("q", LARGE, "abcd"))
    assert rollout_stages(before, Rollout(after, surge_gpus=1), adapters(*"abcd")) == (after,)


def test_a_pool_that_grows_or_shrinks_needs_one_stage():
    small, large = Fleet.of(pool("p", SMALL, "ab", "cd")), Fleet.of(pool("p", SMALL, "ab", "c", "d"))
    assert rollout_stages(small, Rollout(large), adapters(*"abcd")) == (large,)
    assert rollout_stages(large, Rollout(small), adapters(*"abcd")) == (small,)
    assert rollout_stages(small, Rollout(small), adapters(*"abcd")) == ()


def test_without_surge_a_new_pool_comes_replica_by_replica():
    before, after = Fleet.of(pool("p", SMALL, "ab", "cd")), Fleet.of(pool("q", LARGE, "ac", "bd"))
    emptied, half, alone, full = rollout_stages(before, Rollout(after), adapters(*"abcd"))
    assert names(emptied) == ["p-0"]
    assert set(emptied.holders) == set("abcd")
    assert names(half) == ["p-0", "q-0"]
    assert half.holders == {"a": {"q-0": 1}, "c": {"q-0": 1}, "b": {"p-0": 1}, "d": {"p-0": 1}}
    assert names(alone) == ["q-0"]
    assert full == after


def test_the_only_replica_cannot_be_replaced_without_an_interruption():
    before, after = Fleet.of(pool("p", SMALL, "ab")), Fleet.of(pool("q", LARGE, "ab"))
    assert rollout_stages(before, Rollout(after), adapters(*"ab")) == (Fleet(()), after)
    assert rollout_stages(before, Rollout(after, surge_gpus=1), adapters(*"ab")) == (after,)


def test_a_surge_below_one_replica_is_none():
    before, after = Fleet.of(pool("p", SMALL, "ab")), Fleet.of(pool("q", LARGE, "ab"))
    rollout = Rollout(after, surge_gpus=1, gpus_per_replica=2)
    assert len(rollout_stages(before, rollout, adapters(*"ab"))) == 2


def test_adapters_move_to_the_least_loaded_replica_that_has_their_rank():
    """q-1 goes first, of the pool that leaves; r-1 has the least to do, but not the rank for w."""
    before = Fleet.of([*pool("q", LARGE, "e", "bw"), *pool("r", SMALL, "a", "c"), *pool("z", LARGE, "d")])
    after = Fleet.of([*pool("r", SMALL, "a", "c"), *pool("z", LARGE, "d"), *pool("s", LARGE, "e", "bw")])
    rates = {"a": 5, "b": 2, "c": 1, "d": 9, "e": 7}
    known = [*(Adapter(name, rate, 8) for name, rate in rates.items()), Adapter("w", 1, 16)]
    first = rollout_stages(before, Rollout(after), known)[0]
    assert names(first) == ["q-0", "r-0", "r-1", "z-0"]
    assert first.holders["b"] == {"r-1": 1}
    assert first.holders["w"] == {"q-0": 1}


def test_a_copy_too_few_is_made_before_one_goes():
    before = Fleet.of(pool("p", SMALL, "a", "a", "b"))
    after = Fleet.of(pool("q", SMALL, "a", "a", "b"))
    first = rollout_stages(before, Rollout(after), adapters(*"ab"))[0]
    assert names(first) == ["p-0", "p-1"]
    assert first.holders["b"] in ({"p-0": 1}, {"p-1": 1})
    second_goes = rollout_stages(before, Rollout(after), adapters(*"ab"))[2]
    assert len(second_goes.holders["a"]) == 2
    kept = Rollout(after, min_copies=(("b", 2),))
    assert len(rollout_stages(before, kept, adapters(*"ab"))[0].holders["b"]) == 2


def test_highest_ordinals_go_first_and_a_surge_lets_several_go():
    before = Fleet.of(pool("p", SMALL, *["a"] * 11))
    after = Fleet.of(pool("q", LARGE, *["a"] * 11))
    stages = rollout_stages(before, Rollout(after, surge_gpus=2), adapters("a"))
    assert names(stages[0]) == [*(f"p-{i}" for i in range(11)), "q-0", "q-1"]
    assert "p-9" not in stages[1].by_name
    assert "p-10" not in stages[1].by_name
    assert "p-8" in stages[1].by_name


def test_shares_of_copies_that_do_not_exist_yet_stay_where_they_are():
    before = Fleet.of(pool("p", SMALL, "a", "a"))
    after = Fleet.of(pool("q", LARGE, "a", "a"))
    stages = rollout_stages(before, Rollout(after, surge_gpus=1), adapters("a"))
    assert stages[0].holders["a"] == {"q-0": 0.5, "p-0": 0.25, "p-1": 0.25}


def test_a_replica_keeps_its_engine_arguments():
    before, after = Fleet.of(pool("p", SMALL, "a")), Fleet.of(pool("p", LARGE, "a"))
    with pytest.raises(WorkloadError, match="replica p-0: its engine arguments differ"):
        rollout_stages(before, Rollout(after), adapters("a"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"surge_gpus": -1}, "surge_gpus: -1 is not allowed"),
        ({"gpus_per_replica": 0}, "gpus_per_replica: 0 is not allowed"),
        ({"at_s": -1.0}, "rollout.at_s: -1 is not allowed"),
    ],
)
def test_bad_rollouts_are_named(arguments, message):
    with pytest.raises(WorkloadError, match=message):
        Rollout(Fleet(()), **arguments)


@st.composite
def fleets(draw, pools, known):
    replicas = []
    for name, config in pools:
        count = draw(st.integers(0, 4))
        replicas += [(f"{name}-{i}", config, {}) for i in range(count)]
    if not replicas:
        replicas = [(f"{pools[0][0]}-0", pools[0][1], {})]
    for adapter in known:
        places = draw(st.lists(st.integers(0, len(replicas) - 1), min_size=1, max_size=3, unique=True))
        for place in places:
            replicas[place][2][adapter.name] = 1 / len(places)
    return Fleet.of(FleetReplica(name, config, tuple(held.items())) for name, config, held in replicas)


KNOWN = [Adapter(f"a{i}", 0.1 * (i + 1), 8) for i in range(6)]
POOLS = [("p", SMALL), ("q", LARGE), ("r", SMALL)]


@given(before=fleets(POOLS[:2], KNOWN), after=fleets(POOLS[1:], KNOWN), surge=st.integers(0, 3))
def test_invariant_f4_a_rollout_keeps_within_gpus_and_keeps_copies(before, after, surge):
    stages = [before, *rollout_stages(before, Rollout(after, surge_gpus=surge), KNOWN)]
    ceiling = max(len(before.replicas), len(after.replicas)) + surge
    assert stages[-1] == after
    for one, next_one in pairwise(stages):
        assert len(one.by_name.keys() | next_one.by_name.keys()) <= ceiling
    for stage in stages:
        for adapter in KNOWN:
            keep = min(before.copies(adapter.name), after.copies(adapter.name))
            assert stage.copies(adapter.name) >= min(keep, len(stage.replicas))
            if stage.replicas:
                assert sum(stage.holders[adapter.name].values()) == pytest.approx(1)
