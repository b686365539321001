"""Arrival processes: independent streams of arrival times with a mean rate, for many adapters at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adapter_twin.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Callable

Times = NDArray[np.float64]

LONGEST_S = 1e9
"""Of a duration or a period."""
SHORTEST_ON_S = 0.1

_POINTS_PER_PERIOD = 2048


@dataclass(frozen=True)
class Poisson:
    """Memoryless arrivals."""


@dataclass(frozen=True)
class GammaBurst:
    """Gaps with a gamma distribution: burstier than Poisson above a coefficient of variation of 1."""

    cv: float

    def __post_init__(self) -> None:
        if not 0 < self.cv <= 100:
            raise WorkloadError(f"cv: {self.cv:g} is not allowed, it must be above 0 and at most 100")


@dataclass(frozen=True)
class OnOff:
    """Poisson arrivals while on, none while off; mean lengths in seconds, exponentially distributed."""

    on_s: float
    off_s: float

    def __post_init__(self) -> None:
        if not (SHORTEST_ON_S <= self.on_s <= LONGEST_S and 0 <= self.off_s <= LONGEST_S):
            raise WorkloadError(
                f"on_s, off_s: {self.on_s:g}, {self.off_s:g} are not allowed, on_s must be at least "
                f"{SHORTEST_ON_S:g}, off_s not negative, and both at most {LONGEST_S:g}"
            )


@dataclass(frozen=True)
class Diurnal:
    """Poisson arrivals whose rate follows a sine around the mean."""

    amplitude: float
    """Of the rate, relative to its mean."""
    period_s: float

    def __post_init__(self) -> None:
        if not (0 <= self.amplitude <= 1 and 0 < self.period_s <= LONGEST_S):
            raise WorkloadError(
                f"amplitude, period_s: {self.amplitude:g}, {self.period_s:g} are not allowed, the amplitude "
                f"must lie between 0 and 1 and the period be positive and at most {LONGEST_S:g}"
            )


ArrivalProcess = Poisson | GammaBurst | OnOff | Diurnal


def arrival_times(
    process: ArrivalProcess, rate_per_s: float, duration_s: float, random: np.random.Generator
) -> Times:
    """Sorted arrival times in [0, duration_s) of a stationary stream, seconds, shape (arrivals,).

    A longer duration only adds arrivals at the end.
    """
    if rate_per_s <= 0:
        return np.empty(0)
    match process:
        case Poisson():
            return _poisson(rate_per_s, duration_s, random)
        case GammaBurst(cv):
            return _renewal(rate_per_s, duration_s, 1.0 / (cv * cv), random)
        case OnOff():
            return _on_off(process, rate_per_s, duration_s, random)
        case Diurnal():
            return _diurnal(process, rate_per_s, duration_s, random)


def _poisson(rate_per_s: float, duration_s: float, random: np.random.Generator) -> Times:
    return _accumulate(random.standard_exponential, rate_per_s, duration_s, 1.0)


def _accumulate(
    unit_gaps: Callable[[int], Times], rate_per_s: float, duration_s: float, cv: float, start_s: float = 0.0
) -> Times:
    """Sum gaps of mean 1 / rate from `start_s` past the duration, however many are drawn at once."""
    parts, total = [], 0.0
    while start_s + total / rate_per_s < duration_s:
        expected = (duration_s - start_s) * rate_per_s - total
        sums = np.cumsum(np.append(total, unit_gaps(int(expected + 4.0 * cv * math.sqrt(expected)) + 8)))[1:]
        parts.append(start_s + sums / rate_per_s)
        total = float(sums[-1])
    times = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts])
    return times[: np.searchsorted(times, duration_s)]


def _renewal(rate_per_s: float, duration_s: float, shape: float, random: np.random.Generator) -> Times:
    """Gamma gaps, begun in equilibrium: the gap that spans time 0 is a length-biased one, cut uniformly."""
    first = random.random() * random.gamma(shape + 1.0) / (shape * rate_per_s)
    if first >= duration_s:
        return np.empty(0)
    cv = 1.0 / math.sqrt(shape)
    later = _accumulate(
        lambda count: random.gamma(shape, size=count) / shape, rate_per_s, duration_s, cv, start_s=first
    )
    return np.concatenate([[first], later])


def _on_off(process: OnOff, rate_per_s: float, duration_s: float, random: np.random.Generator) -> Times:
    """Poisson arrivals on the clock that runs only while on, carried over to the real one."""
    cycle_s = process.on_s + process.off_s
    starts_off = random.random() * cycle_s >= process.on_s
    off_first_s = process.off_s * random.standard_exponential() if starts_off else 0.0
    periods = np.random.Generator(np.random.PCG64(random.integers(2**63)))
    on, off = _periods(process, duration_s - off_first_s, periods)
    on_clock = np.cumsum(on)
    begins = off_first_s + np.append(0.0, np.cumsum(on + off)[:-1])
    active_s = float(np.clip(duration_s - begins, 0.0, on).sum())
    ticks = _poisson(rate_per_s * cycle_s / process.on_s, active_s, random)
    period = np.searchsorted(on_clock, ticks, side="right")
    times: Times = begins[period] + ticks - (on_clock[period] - on[period])
    return times[times < duration_s]


def _periods(process: OnOff, duration_s: float, random: np.random.Generator) -> tuple[Times, Times]:
    """Lengths of the on and of the off periods that fill the duration."""
    drawn = np.empty((0, 2))
    while (left_s := duration_s - float(drawn.sum())) >= 0:
        cycles = int(1.2 * left_s / (process.on_s + process.off_s)) + 16
        drawn = np.concatenate(
            [drawn, random.standard_exponential((cycles, 2)) * (process.on_s, process.off_s)]
        )
    return drawn[:, 0], drawn[:, 1]


def _diurnal(process: Diurnal, rate_per_s: float, duration_s: float, random: np.random.Generator) -> Times:
    """A Poisson process of rate 1, carried over by the inverse of the expected number of arrivals."""
    phases, expected_s = _diurnal_period(process)
    ticks_s = _poisson(1.0, rate_per_s * (duration_s + _surplus_s(process, duration_s)), random) / rate_per_s
    periods, within_s = np.divmod(ticks_s, process.period_s)
    times = periods * process.period_s + np.interp(within_s, expected_s, phases)
    return times[: np.searchsorted(times, duration_s)]


@lru_cache(maxsize=8)
def _diurnal_period(process: Diurnal) -> tuple[Times, Times]:
    """Times of even distance over one period, and the arrivals expected by then at a mean rate of 1/s."""
    phases = np.linspace(0.0, process.period_s, _POINTS_PER_PERIOD + 1)
    return phases, phases + np.array([_surplus_s(process, float(phase)) for phase in phases])


def _surplus_s(process: Diurnal, until_s: float) -> float:
    """Arrivals expected until then beyond those of an even stream, at a mean rate of 1/s."""
    turn = 2 * math.pi * (until_s / process.period_s % 1.0)
    return process.amplitude * process.period_s / (2 * math.pi) * (1.0 - math.cos(turn))
