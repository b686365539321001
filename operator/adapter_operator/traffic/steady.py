"""From rates that are observed anew all the time to rates that plans may rest on. Pure.

Every change of rates is a question to the planner, so small ones are passed over. More traffic counts at once
(or after a window, where one is set), less of it only once it has stayed away for a whole window; then what
was seen at most during that window is planned for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

Rates = Mapping[str, float]
"""Requests/s by adapter."""

MORE: Final = 1.25
"""An adapter that sends so many times what it is held for needs more; the total needs it sooner."""
MORE_IN_TOTAL: Final = 1.1
LESS_IN_TOTAL: Final = 0.8
"""Where all adapters together send less than this part, less may suffice."""
LESS: Final = 0.5
"""Likewise for one adapter, as long as it makes up a noticeable part."""
NOTICEABLE: Final = 0.05
"""Part of the total rate below which changes of single adapters are passed over."""
_DIGITS: Final = 3


@dataclass(frozen=True)
class Held:
    """Rates that plans rest on.

    Attributes:
        rates: The rates.
        more_since_s: Since when more has been observed; None where it has not.
        less_since_s: Since when less has been observed.
        peak: The most of each adapter that was observed since then.
    """

    rates: Rates
    more_since_s: float | None = None
    less_since_s: float | None = None
    peak: Rates | None = None


def steady(held: Held | None, observed: Rates, now_s: float, *, up_s: float, down_s: float) -> Held:
    """The rates to hold from now on.

    Args:
        held: Those that were held; None at the beginning.
        observed: What is observed now, for every adapter.
        now_s: The present.
        up_s: Seconds for which more must have been observed.
        down_s: Seconds for which less must have been observed.
    """
    if held is None or held.rates.keys() != observed.keys():
        return Held(_rounded(observed))
    if _needs_more(held.rates, observed):
        since = now_s if held.more_since_s is None else held.more_since_s
        if now_s - since < up_s:
            return replace(held, more_since_s=since, less_since_s=None, peak=None)
        return Held(_rounded(_most(held.rates, observed)))
    if not _needs_less(held.rates, observed):
        return replace(held, more_since_s=None, less_since_s=None, peak=None)
    since = now_s if held.less_since_s is None else held.less_since_s
    peak = _most(held.peak or {}, observed)
    if now_s - since < down_s:
        return replace(held, more_since_s=None, less_since_s=since, peak=peak)
    return Held(_rounded(peak))


def _needs_more(held: Rates, observed: Rates) -> bool:
    total = sum(held.values())
    if sum(observed.values()) > MORE_IN_TOTAL * total:
        return True
    slack = NOTICEABLE * total
    return any(rate > MORE * held[name] and rate - held[name] > slack for name, rate in observed.items())


def _needs_less(held: Rates, observed: Rates) -> bool:
    total = sum(held.values())
    if sum(observed.values()) < LESS_IN_TOTAL * total:
        return True
    slack = NOTICEABLE * total
    return any(rate < LESS * held[name] and held[name] - rate > slack for name, rate in observed.items())


def _most(one: Rates, other: Rates) -> Rates:
    return {name: max(one.get(name, 0.0), rate) for name, rate in other.items()}


def _rounded(rates: Rates) -> Rates:
    """To as many digits as anybody can mean."""
    return {name: float(f"{rate:.{_DIGITS}g}") for name, rate in rates.items()}
