import numpy as np
import pytest

from adapter_twin.starvation import FALSE_ALARM, significantly_below


def starving(requests, completed, objective, others=0):
    """Whether one adapter starves among `others` that are served in full."""
    sent = np.array([requests] + [100] * others)
    done = np.array([completed] + [100] * others)
    return bool(significantly_below(objective, sent, done, done / np.maximum(sent, 1))[0])


def test_one_unlucky_request_is_no_starvation():
    assert not starving(1, 0, 0.95)
    assert not starving(5, 4, 0.95, others=159)


def test_many_lost_requests_are():
    assert starving(1000, 800, 0.95)
    assert starving(20, 5, 0.95, others=159)


def test_the_documented_border_for_an_adapter_that_gets_nothing():
    assert not starving(2, 0, 0.95, others=159)
    assert starving(4, 0, 0.95, others=159)


def test_served_at_the_objective_is_never_starving():
    assert not starving(1000, 950, 0.95)


def test_an_adapter_without_requests_does_not_starve():
    assert not starving(0, 0, 0.95)


@pytest.mark.parametrize("requests", [3, 30, 300])
def test_plans_that_serve_exactly_at_the_objective_are_seldom_blamed(requests):
    random = np.random.default_rng(7)
    adapters, plans, objective = 160, 400, 0.9
    sent = np.full(adapters, requests)
    blamed = 0
    for _ in range(plans):
        done = random.binomial(requests, objective, adapters)
        blamed += bool(significantly_below(objective, sent, done, done / requests).any())
    assert blamed / plans <= 2 * FALSE_ALARM
