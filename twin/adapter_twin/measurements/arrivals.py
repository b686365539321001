"""The measured runs' own arrivals, repeated draw by draw.

Every run was seeded with 0: Python's generator shuffled the (adapter, rate) pairs, and numpy's legacy
generator drew all gaps: first one per adapter in the shuffled order, then, in order of arrival time over all
adapters, the next gap of the adapter that arrived. An adapter stops at its first arrival at or after the end.
"""

import random
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from adapter_twin.workload.merging import padded, replay, tournament

MEASURED_DURATION_S = 3600.0
MEASURED_SCRAPE_INTERVAL_S = 2.0
"""The runs' harness read the server's gauges this long after the answer to the read before."""


@lru_cache(maxsize=8)
def measured_arrivals(
    rates: tuple[float, ...], adapters: int, duration_s: float = MEASURED_DURATION_S
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Arrival times (s, sorted) and adapter indices of the run with these cycled rates."""
    # The measured runs used these generators: neither is for secrets.
    shuffled = [(i, rates[i % len(rates)]) for i in range(adapters)]
    random.Random(0).shuffle(shuffled)  # noqa: S311
    order = np.array([i for i, _ in shuffled], dtype=np.int32)
    mean_gap = np.array([1.0 / rate for _, rate in shuffled])
    expected = duration_s * float((1.0 / mean_gap).sum())
    draws = int(expected + 10.0 * expected**0.5) + 2 * adapters + 100
    gaps = np.random.RandomState(0).standard_exponential(draws)
    times, positions, count = _merge(gaps, mean_gap, duration_s)
    arrival_s, adapter = times[:count].copy(), order[positions[:count]]
    arrival_s.setflags(write=False)
    adapter.setflags(write=False)
    return arrival_s, adapter


def cycled(values: Sequence[float], count: int) -> list[float]:
    """`count` values, cycling."""
    return [values[i % len(values)] for i in range(count)]


@njit(cache=True, nogil=True)
def _merge(gaps, mean_gap, duration_s):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Merge the adapters' arrivals, drawing each next gap in order of arrival."""
    n = mean_gap.shape[0]
    upcoming = padded(gaps[:n] * mean_gap)
    times = np.empty(gaps.shape[0], np.float64)
    adapters = np.empty(gaps.shape[0], np.int32)
    count = 0
    first, losers = tournament(upcoming)
    while upcoming[first] < duration_s:
        now = upcoming[first]
        times[count] = now
        adapters[count] = first
        upcoming[first] = now + gaps[n + count] * mean_gap[first]
        count += 1
        first = replay(upcoming, losers, first)
    return times, adapters, count
