import itertools

import pytest

from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, place
from adapter_predictor.placement.judge import SLOT_GRID
from adapter_predictor.placement.seating import moved_adapters

RANKS = (8, 16, 32)


def demands(count, scale=1.0):
    return [
        AdapterDemand(f"a{i:04d}", scale * 8.0 / (i + 1) ** 0.8, RANKS[i % 3], 1 + (i % 7 == 0))
        for i in range(count)
    ]


def served(found, asked, steady, factor):
    rates = {demand.name: demand.rate * factor for demand in asked}
    loads = [
        ReplicaLoad(
            tuple(rates[name] * share for name, share in found.plan.assignment[replica].items()),
            *(223.0, 194.0, pool.max_loras, pool.max_lora_rank),
        )
        for pool in found.plan.pools
        for replica in pool.replica_names()
    ]
    return steady.predict_batch(LoadBatch.of(loads)).served_fraction


def ticking():
    """A clock that goes on by one second each time that it is read."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


@pytest.mark.parametrize("patience", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
def test_whenever_it_is_stopped_what_it_gives_is_valid(steady, patience):
    asked = demands(240)
    limits = Limits(max_replicas=40)
    found = place(asked, steady, Objectives(), limits, deadline_s=patience, clock=ticking())
    assert found.plan is not None
    assert found.plan.shares.keys() == {demand.name for demand in asked}
    assert all(len(found.plan.shares[d.name]) >= d.min_copies for d in asked)
    assert found.lower_bound.gpus <= found.plan.replicas
    if found.feasible:
        assert (served(found, asked, steady, 1.1) >= 0.95 - 1e-6).all()


def test_without_any_time_too_many_replicas_are_better_than_starving_ones(steady):
    asked = demands(240, 4.0)
    found = place(asked, steady, Objectives(), Limits(max_replicas=500), deadline_s=0, clock=ticking())
    assert found.feasible
    assert found.plan.replicas > 3 * max(demand.min_copies for demand in asked)
    assert (served(found, asked, steady, 1.1) >= 0.95 - 1e-6).all()


def test_patience_never_costs_replicas(steady):
    asked, counts = demands(240), []
    for patience in (0, 5, 20, 1000):
        limits = Limits(max_replicas=40)
        found = place(asked, steady, Objectives(), limits, deadline_s=patience, clock=ticking())
        counts.append(found.plan.replicas if found.feasible else 40)
    assert counts == sorted(counts, reverse=True)


def test_drifting_traffic_moves_few_adapters(steady):
    same = {"excluded_slots": {(slots, rank) for slots in SLOT_GRID for rank in RANKS if slots != 64}}
    before = demands(300, 1.4)
    present = place(before, steady, Objectives(), Limits(max_replicas=60), **same).plan
    limits = Limits(min_replicas=present.replicas, max_replicas=present.replicas)
    after = [
        AdapterDemand(d.name, d.rate * (0.9 + 0.2 * (i % 2)), d.rank, d.min_copies)
        for i, d in enumerate(before)
    ]
    found = place(after, steady, Objectives(headroom=0.05), limits, present=present, **same)
    assert found.feasible
    assert moved_adapters(present, found.plan) < 0.25 * len(before)


def test_beyond_the_limits_headroom_is_given_up_before_traffic(steady):
    asked = demands(200)
    enough = place(asked, steady, Objectives(headroom=0.0), Limits(max_replicas=60)).plan.replicas
    found = place(asked, steady, Objectives(headroom=0.5), Limits(max_replicas=enough))
    assert not found.feasible
    assert found.missing_gpus > 0
    assert (served(found, asked, steady, 1.0) >= 0.95 - 1e-6).all()
