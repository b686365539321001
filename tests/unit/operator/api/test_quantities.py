import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_operator.api.quantities import (
    format_duration,
    format_quantity,
    parse_duration_s,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("0.4", 0.4),
        ("400m", 0.4),
        ("6250u", 0.00625),
        ("0.00625", 0.00625),
        ("12n", 1.2e-8),
        ("1.5k", 1500.0),
        ("0", 0.0),
        (3, 3.0),
    ],
)
def test_quantities_are_exact(written, number):
    assert parse_quantity(written) == number


@pytest.mark.parametrize(
    ("written", "seconds"), [("50ms", 0.05), ("1.5s", 1.5), ("1h30m", 5400.0), ("10m", 600.0), ("0s", 0.0)]
)
def test_durations(written, seconds):
    assert parse_duration_s(written) == seconds


@pytest.mark.parametrize(
    ("number", "written"),
    [(0.4, "400m"), (0.00625, "6250u"), (3.0, "3"), (24.58125, "24581250u"), (1e-9, "1n"), (0.0, "0")],
)
def test_quantities_are_written_without_a_point(number, written):
    assert format_quantity(number) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.032, "32ms"), (5400.0, "1h30m"), (90.0, "1m30s"), (3600.0, "1h"), (0.0, "0s"), (1.5, "1500ms")],
)
def test_durations_are_written(seconds, written):
    assert format_duration(seconds) == written


@given(st.integers(min_value=0, max_value=10**14))
def test_a_quantity_survives_being_written(nanos):
    number = nanos * 1e-9
    assert parse_quantity(format_quantity(number)) == pytest.approx(number, rel=1e-8, abs=1e-9)


@given(st.integers(min_value=0, max_value=10**8))
def test_a_duration_survives_being_written(milliseconds):
    assert parse_duration_s(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)
