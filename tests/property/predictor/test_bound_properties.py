"""The lower bound against the optimum that exhaustive search finds."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, TokenMeans, place
from adapter_predictor.placement.bound import lower_bound
from adapter_predictor.placement.judge import Contents, Judge
from adapter_predictor.placement.region import mixture, on_scale, rate_scale

TOKENS = TokenMeans(222.62, 194.52)
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def few_hot_adapters(draw):
    count = draw(st.integers(1, 8))
    return [
        AdapterDemand(f"a{i}", draw(st.floats(0.5, 22.0)), draw(st.sampled_from([8, 16, 32, 64])))
        for i in range(count)
    ]


def optimum(demands, judge):
    """The fewest replicas of any plan that splits no adapter: dynamic programming over all subsets."""
    subsets = range(1, 2 ** len(demands))
    members = [[d for i, d in enumerate(demands) if subset >> i & 1] for subset in subsets]
    carried = judge.carries(
        [Contents(np.array([d.rate for d in own]), max(d.rank for d in own)) for own in members]
    )
    feasible = {subset for subset, good in zip(subsets, carried, strict=True) if good}
    fewest = {0: 0}
    for subset in subsets:
        parts = (part for part in feasible if part & subset == part)
        fewest[subset] = min((1 + fewest[subset ^ part] for part in parts), default=len(demands) + 1)
    return fewest[2 ** len(demands) - 1]


@SLOW
@given(demands=few_hot_adapters(), headroom=st.sampled_from([0.0, 0.1, 0.3]))
def test_the_bound_is_below_the_optimum_and_the_plan_hardly_above(demands, headroom, steady):
    objectives = Objectives(0.95, headroom)
    best = optimum(demands, Judge(steady, objectives, TOKENS))
    found = place(demands, steady, objectives, Limits(max_replicas=30), tokens=TOKENS)
    assert lower_bound(demands, Judge(steady, objectives, TOKENS), 1).gpus <= best
    assert found.lower_bound.gpus <= found.plan.replicas <= best + 1


@SLOW
@given(demands=few_hot_adapters())
def test_a_bound_that_was_cut_short_is_lower(demands, steady):
    judge = Judge(steady, Objectives(), TOKENS)
    hurried = lower_bound(demands, judge, 1, deadline=Deadline.after(0.0))
    assert 1 <= hurried.gpus <= lower_bound(demands, judge, 1).gpus


@given(rates=st.lists(st.floats(0.0, 80.0), min_size=1, max_size=200))
def test_the_scale_keeps_rates_and_never_adds_adapters(rates):
    rates = np.array(rates)
    scale = rate_scale(rates)
    counts = on_scale(rates, scale) if len(scale) else np.zeros(0)
    assert np.isclose((counts * scale).sum(), rates[rates > 1e-9].sum())
    assert counts.sum() <= np.count_nonzero(rates > 0.0) + 1e-6
    assert (np.diff(scale) > 0.0).all()


@given(amounts=st.lists(st.floats(0.0, 9.0), min_size=3, max_size=3))
def test_a_mixture_has_the_rate_of_its_amounts(amounts):
    scale = np.array([0.1, 1.0, 7.0])
    held = mixture(scale, np.array(amounts), 8)
    assert np.isclose(held.rates.sum(), (scale * amounts).sum(), atol=1e-6)
    assert len(held.rates) <= sum(int(amount) + 1 for amount in amounts)
