"""Numbers as people read them, with their units."""

import math

from adapter_operator.planning.wording import percent
from adapter_operator.planning.wording import plural as count
from adapter_predictor.placement.frontier import MOST_HEADROOM

__all__ = ["NOTHING", "count", "headroom", "hours", "percent", "rate", "seconds", "tokens_per_s"]

NOTHING = "–"


def rate(requests_per_s: float) -> str:
    """Requests per second with three significant digits: `0.00625/s`."""
    return f"{float(f'{requests_per_s:.3g}'):g}/s"


def tokens_per_s(value: float) -> str:
    """Tokens per second: `9,876 tok/s`."""
    return NOTHING if math.isnan(value) else f"{value:,.0f} tok/s"


def seconds(value: float) -> str:
    """A duration in the unit that suits it: `31.2 ms`, `1.25 s`, `13.8 min`."""
    if math.isnan(value):
        return NOTHING
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 1.0:
        return f"{value * 1e3:.3g} ms"
    if value < 120.0:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min"


def hours(value_s: float) -> str:
    """A horizon: `1 h`, `90 min`, `30 s`."""
    if value_s >= 3600.0 and value_s % 3600.0 == 0.0:
        return f"{value_s / 3600.0:g} h"
    return f"{value_s / 60.0:g} min" if value_s >= 60.0 else f"{value_s:g} s"


def headroom(part: float | None) -> str:
    """Headroom: `23%`, rounded down; `none` where the declared rates are too high already."""
    if part is None:
        return "none"
    if part >= MOST_HEADROOM - 0.01:
        return f"over {MOST_HEADROOM - 0.01:.0%}"
    return f"{math.floor(100.0 * part + 1e-9)}%"
