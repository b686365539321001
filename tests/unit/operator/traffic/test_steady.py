"""Which changes of observed traffic count, and when."""

from adapter_operator.traffic.steady import Held, steady

WINDOWS = {"up_s": 0.0, "down_s": 60.0}


def test_the_first_observation_is_held():
    assert steady(None, {"a": 0.12345, "b": 0.0}, 0.0, **WINDOWS).rates == {"a": 0.123, "b": 0.0}


def test_small_changes_are_passed_over():
    held = Held({"a": 1.0, "b": 1.0})
    assert steady(held, {"a": 1.15, "b": 0.9}, 5.0, **WINDOWS) == held


def test_more_counts_at_once_and_takes_nothing_from_others():
    held = steady(Held({"a": 1.0, "b": 1.0}), {"a": 2.0, "b": 0.5}, 5.0, **WINDOWS)
    assert held.rates == {"a": 2.0, "b": 1.0}


def test_many_small_increases_count_together():
    assert steady(Held({"a": 1.0, "b": 1.0}), {"a": 1.12, "b": 1.12}, 5.0, **WINDOWS).rates["b"] == 1.12


def test_a_single_adapter_counts_though_the_total_stays():
    held = steady(Held({"a": 1.0, "b": 1.0}), {"a": 1.5, "b": 0.6}, 5.0, **WINDOWS)
    assert held.rates == {"a": 1.5, "b": 1.0}


def test_more_may_have_to_last():
    windows = {"up_s": 10.0, "down_s": 60.0}
    held = steady(Held({"a": 1.0}), {"a": 2.0}, 0.0, **windows)
    assert held.rates == {"a": 1.0}
    assert steady(held, {"a": 1.0}, 5.0, **windows).more_since_s is None
    assert steady(held, {"a": 2.0}, 10.0, **windows).rates == {"a": 2.0}


def test_less_counts_after_a_window_and_then_the_most_of_that_window():
    held = steady(Held({"a": 4.0, "b": 1.0}), {"a": 0.5, "b": 1.0}, 0.0, **WINDOWS)
    held = steady(held, {"a": 1.0, "b": 0.2}, 30.0, **WINDOWS)
    assert held.rates == {"a": 4.0, "b": 1.0}
    assert steady(held, {"a": 0.5, "b": 0.2}, 60.0, **WINDOWS).rates == {"a": 1.0, "b": 1.0}


def test_traffic_that_comes_back_is_not_taken_away():
    held = steady(Held({"a": 4.0}), {"a": 0.5}, 0.0, **WINDOWS)
    held = steady(held, {"a": 4.0}, 59.0, **WINDOWS)
    assert steady(held, {"a": 0.5}, 61.0, **WINDOWS).rates == {"a": 4.0}


def test_other_adapters_begin_anew():
    assert steady(Held({"a": 4.0}), {"a": 1.0, "b": 1.0}, 0.0, **WINDOWS).rates == {"a": 1.0, "b": 1.0}
