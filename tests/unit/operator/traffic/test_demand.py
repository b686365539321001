"""Rates to plan for: near the truth, quick to rise, slow to fall, and silent where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from adapter_operator.traffic.counters import Counters
from adapter_operator.traffic.demand import DemandWindow, Tokens, rate_quantile

INTERVAL_S = 10.0
WINDOW_S = 600.0


class Replayed:
    """Gateways whose counters follow given rates."""

    def __init__(self, seed: int = 0):
        self.window = DemandWindow(WINDOW_S, INTERVAL_S)
        self.now = 0.0
        self._counts = {"one": 0, "two": 0}
        self._random = np.random.default_rng(seed)

    def run(self, seconds: float, rate: float, *, answering=("one", "two"), gateways=("one", "two")):
        for _ in range(int(seconds / INTERVAL_S)):
            self.now += INTERVAL_S
            for name in gateways:
                self._counts[name] += self._random.poisson(rate * INTERVAL_S / len(gateways))
            readings = {name: {("ns/a", "m"): Counters(started=self._counts[name])} for name in answering}
            self.window.add(self.now, readings, gateways)
        return self

    def observe(self, **options):
        return self.window.observe("ns/a", WINDOW_S, 0.95, self.now, **options)

    def rate(self) -> float:
        return self.observe().rates["m"]


@pytest.mark.parametrize("rate", [0.05, 1.0, 20.0])
def test_a_steady_rate_is_met_from_just_above(rate):
    estimates = [Replayed(seed).run(900, rate).rate() for seed in range(20)]
    allowed = 2.5 * np.sqrt(rate / WINDOW_S) + 2.0 / WINDOW_S
    assert rate - allowed / 2 < np.median(estimates) < rate + allowed
    assert np.mean(np.array(estimates) >= rate) >= 0.8


def test_a_surge_is_planned_for_before_the_window_is_full_of_it():
    replayed = Replayed().run(900, 1.0)
    assert replayed.rate() < 1.3
    assert replayed.run(60, 10.0).rate() > 7.0


def test_a_lull_is_believed_only_when_the_window_has_passed():
    replayed = Replayed().run(900, 10.0).run(300, 0.1)
    assert replayed.rate() > 4.0
    assert replayed.run(320, 0.1).rate() < 0.3


def test_silence_is_zero_only_after_a_full_window():
    replayed = Replayed().run(500, 0.0)
    assert replayed.observe().state == "Warming"
    assert replayed.observe().rates == {}
    observed = replayed.run(200, 0.0).observe()
    assert observed.state == "Healthy"
    assert observed.rates == {"m": 0.0}


def test_nothing_is_known_without_a_gateway():
    assert Replayed().run(900, 1.0, answering=(), gateways=()).observe().state == "Warming"


def test_gateways_that_do_not_answer_make_it_stale():
    observed = Replayed().run(900, 1.0).run(60, 1.0, answering=("one",)).observe()
    assert observed.state == "Stale"
    assert observed.age_s == 60.0
    assert observed.rates == {}


def test_a_gateway_that_misses_a_round_or_two_changes_nothing():
    replayed = Replayed().run(900, 5.0)
    before = replayed.rate()
    replayed.run(20, 5.0, answering=("one",)).run(20, 5.0)
    assert replayed.observe().state == "Healthy"
    assert replayed.rate() == pytest.approx(before, rel=0.15)


def test_after_a_gap_a_full_window_is_needed_again():
    replayed = Replayed().run(900, 1.0).run(300, 1.0, answering=("one",)).run(300, 1.0)
    assert replayed.observe().state == "Warming"
    assert replayed.run(400, 1.0).observe().state == "Healthy"


def test_other_hosts_are_not_counted():
    replayed = Replayed().run(900, 1.0)
    assert replayed.window.observe("ns/b", WINDOW_S, 0.95, replayed.now).rates == {}


def test_lengths_are_means_over_answered_requests():
    window = DemandWindow(20.0, INTERVAL_S)
    for n in range(4):
        counters = Counters(started=10 * n, prompt_tokens=2000 * n, output_tokens=500 * n)
        window.add(n * INTERVAL_S, {"one": {("ns/a", "m"): counters}}, ["one"])
    assert window.observe("ns/a", 20.0, 0.95, 30.0).tokens == Tokens(200.0, 50.0)


def test_memory_does_not_grow_with_time():
    replayed = Replayed().run(7200, 1.0)
    assert len(replayed.window._slices) < 2 * WINDOW_S / INTERVAL_S


@pytest.mark.parametrize(("count", "seconds"), [(0, 600), (10, 600), (1000, 60)])
def test_quantiles_of_a_rate_lie_around_its_estimate(count, seconds):
    low, high = rate_quantile(count, seconds, 0.05), rate_quantile(count, seconds, 0.95)
    assert low < (count + 0.5) / seconds < high
    assert rate_quantile(count, 0.0, 0.95) == 0.0
