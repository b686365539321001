import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, place

TOKENS = (222.62, 194.52)
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def workloads(draw):
    count = draw(st.integers(1, 60))
    rates = st.one_of(st.just(0.0), st.floats(0.001, 3.0), st.floats(5.0, 60.0))
    hot = draw(st.integers(0, 3))
    return [
        AdapterDemand(
            f"a{i:03d}",
            draw(rates) if i <= hot else draw(st.floats(0.0, 0.5)),
            draw(st.sampled_from([1, 8, 12, 16, 32])),
            draw(st.sampled_from([1, 1, 1, 2, 3])),
        )
        for i in range(count)
    ]


def placed(demands, steady, headroom=0.1, **more):
    return place(demands, steady, Objectives(0.9, headroom), Limits(max_replicas=100), **more)


def loads_of(plan, demands, factor):
    rates = {demand.name: demand.rate * factor for demand in demands}
    for pool in plan.pools:
        for name in pool.replica_names():
            held = tuple(rates[a] * share for a, share in plan.assignment[name].items())
            yield ReplicaLoad(held, *TOKENS, pool.max_loras, pool.max_lora_rank)


@SLOW
@given(demands=workloads(), headroom=st.sampled_from([0.0, 0.1, 0.4]))
def test_every_replica_of_a_feasible_plan_is_predicted_feasible(demands, headroom, steady):
    found = placed(demands, steady, headroom)
    assert found.feasible
    said = steady.predict_batch(LoadBatch.of(list(loads_of(found.plan, demands, 1.0 + headroom))))
    assert said.fits.all()
    assert (said.served_fraction >= 0.9 - 1e-6).all()


@SLOW
@given(demands=workloads())
def test_everything_is_served_once_with_its_copies_on_slots_wide_enough(demands, steady):
    plan = placed(demands, steady).plan
    widths = {name: pool.max_lora_rank for pool in plan.pools for name in pool.replica_names()}
    assert set(plan.shares) == {demand.name for demand in demands}
    for demand in demands:
        shares = plan.shares[demand.name]
        assert len(shares) >= demand.min_copies
        assert math.isclose(sum(shares.values()), 1.0)
        assert all(widths[replica] >= demand.rank for replica in shares)


@SLOW
@given(demands=workloads(), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_adapters_does_not_matter(demands, shuffle, steady):
    shuffled = list(demands)
    shuffle.shuffle(shuffled)
    assert placed(shuffled, steady).plan.hash == placed(demands, steady).plan.hash


@SLOW
@given(demands=workloads())
def test_no_plan_is_below_the_lower_bound(demands, steady):
    found = placed(demands, steady)
    copies = max(demand.min_copies for demand in demands)
    assert copies <= found.lower_bound.gpus <= found.plan.replicas


@SLOW
@given(demands=workloads())
def test_planning_again_from_the_plan_moves_nothing(demands, steady):
    plan = placed(demands, steady).plan
    assert placed(demands, steady, present=plan).plan.hash == plan.hash


@SLOW
@given(demands=workloads(), drift=st.floats(0.6, 1.6))
def test_repairs_keep_every_promise(demands, drift, steady):
    plan = placed(demands, steady).plan
    drifted = [AdapterDemand(d.name, d.rate * drift, d.rank, d.min_copies) for d in demands[1:]]
    drifted.append(AdapterDemand("new", 0.2, 16, 2))
    found = placed(drifted, steady, present=plan)
    assert found.feasible
    said = steady.predict_batch(LoadBatch.of(list(loads_of(found.plan, drifted, 1.1))))
    assert (said.served_fraction >= 0.9 - 1e-6).all()
    assert set(found.plan.shares) == {demand.name for demand in drifted}
    assert all(len(found.plan.shares[d.name]) >= d.min_copies for d in drifted)


@SLOW
@given(rates=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=80), factor=st.floats(1.0, 4.0))
def test_more_traffic_is_not_served_better(rates, factor, steady):
    load = ReplicaLoad(tuple(rates), *TOKENS, 32, 16)
    said = steady.predict_batch(LoadBatch.of([load, load.scaled(factor)]))
    assert said.served_fraction[1] <= said.served_fraction[0] + 0.03
    assert np.isfinite(said.itl_s).all()
