"""What a simulated replica did: totals, latencies, gauges, adapters, time series."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter_twin.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.memory import MemoryVerdict

NAN = float("nan")

_DROPPED_BITS = 49
"""Of a double: what is left is its exponent and the first three digits of its mantissa."""
_PERCENTILE_BITS = 45
_LEAST_S = 1e-6


class Status(StrEnum):
    """Whether the replica ran at all."""

    OK = "ok"
    OUT_OF_MEMORY = "oom"


def percentiles(values: NDArray[np.float64], wanted: Sequence[float]) -> list[float]:
    """`numpy.percentile` of values that are not negative, faster: only those around each place are sorted.

    Doubles that are not negative are ordered like their bits, so their upper bits tell where a place lies.
    """
    bins = np.ascontiguousarray(values).view(np.int64) >> _PERCENTILE_BITS
    first = int(bins.min())
    bins -= first
    below = np.concatenate([[0], np.cumsum(np.bincount(bins))])

    def at(percent: float) -> float:
        place = percent / 100.0 * (values.size - 1)
        lower = min(int(place), values.size - 1)
        upper = min(lower + 1, values.size - 1)
        low, high = np.searchsorted(below, (lower, upper), side="right") - 1
        near = np.sort(values[(bins >= low) & (bins <= high)])
        left, right = near[[lower - below[low], upper - below[low]]].tolist()
        share = place - lower
        return float(left + (right - left) * share if share < 0.5 else right - (right - left) * (1 - share))

    return [at(percent) for percent in wanted]


@dataclass(frozen=True)
class LatencySummary:
    """Seconds; NaN where nothing was measured."""

    mean: float = NAN
    p50: float = NAN
    p90: float = NAN
    p99: float = NAN

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> LatencySummary:
        """Mean and percentiles of single values."""
        if values.size == 0:
            return cls()
        return cls(float(values.mean()), *percentiles(values, (50.0, 90.0, 99.0)))


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many values lie in each of the bins, whose widths grow with the values."""

    edges_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    """Ascending, shape (bins + 1,)."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Histogram:
        """Of positive values, by their exponents and first three binary digits: eight bins per doubling."""
        if values.size == 0:
            return cls()
        bins = np.maximum(values, _LEAST_S).view(np.int64) >> _DROPPED_BITS
        first = int(bins.min())
        counts = np.bincount(bins - first)
        edges = (np.arange(first, first + counts.size + 1) << _DROPPED_BITS).view(np.float64)
        return cls(edges, counts)


@dataclass(frozen=True, eq=False)
class PerAdapter:
    """One entry per adapter, in the order of the adapters given."""

    names: tuple[str, ...]
    offered_requests: NDArray[np.int64]
    completed_requests: NDArray[np.int64]
    offered_tokens: NDArray[np.int64]
    completed_tokens: NDArray[np.int64]
    completable_tokens: NDArray[np.int64]
    """Offered tokens that count for the served fraction (see `slo`)."""
    served_tokens: NDArray[np.int64]
    """Those of them that were completed."""
    ttft_mean_s: NDArray[np.float64]
    itl_mean_s: NDArray[np.float64]

    @property
    def served_fraction(self) -> NDArray[np.float64]:
        """Served over completable tokens; 1 where nothing was offered."""
        offered = self.completable_tokens
        return np.where(offered > 0, self.served_tokens / np.maximum(offered, 1), 1.0)


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Equal bins of time; gauges are means over a bin."""

    time_s: NDArray[np.float64]
    """Middle of each bin."""
    running: NDArray[np.float64]
    waiting: NDArray[np.float64]
    kv_usage: NDArray[np.float64]
    """Fraction of the KV cache's blocks in use."""
    decoded_tokens_per_s: NDArray[np.float64]
    prefill_tokens_per_s: NDArray[np.float64]
    adapter_loads_per_s: NDArray[np.float64]
    """Copies from host memory to a slot."""


@dataclass(frozen=True)
class Report:
    """The outcome of simulating one replica. Requests unfinished at the end are cancelled and not counted."""

    status: Status
    memory: MemoryVerdict
    duration_s: float
    offered_requests: int
    completed_requests: int
    running_requests: int
    """At the end."""
    waiting_requests: int
    """At the end, those on their way to the queue included."""
    rejected_requests: int
    """Turned away: at the cap on connections, or too long for the model."""
    offered_tokens: int
    input_tokens: int
    """Of completed requests."""
    output_tokens: int
    served_fraction: float
    """See `slo`."""
    ttft_s: LatencySummary
    """Arrival to first token, over completed requests."""
    tpot_s: LatencySummary
    """First to last token per further token, over completed requests."""
    itl_s: LatencySummary
    """Gaps between tokens: the mean over those of completed requests, percentiles over all."""
    e2e_s: LatencySummary
    """Arrival to last token, over completed requests."""
    running_mean: float
    """This and the next two: over the last three quarters of the time."""
    waiting_mean: float
    kv_usage_mean: float
    kv_usage_max: float
    waiting_max: int
    preemptions: int
    adapter_loads: int
    """Copies from host memory to a slot."""
    adapter_disk_loads: int
    steps: int
    per_adapter: PerAdapter
    timeseries: TimeSeries
    last_finish_s: float = NAN
    """When the last completed request ended."""
    ttft_histogram: Histogram = field(default_factory=Histogram)
    itl_histogram: Histogram = field(default_factory=Histogram)
    """Of the gaps of all requests, like the percentiles."""
    e2e_histogram: Histogram = field(default_factory=Histogram)

    @property
    def throughput_tokens_per_s(self) -> float:
        """Prompt and output tokens of completed requests over the duration."""
        return (self.input_tokens + self.output_tokens) / self.duration_s

    def starving_adapters(self, threshold: float) -> list[int]:
        """Indices of the adapters whose served fraction is below `threshold`."""
        return [int(i) for i in np.flatnonzero(self.per_adapter.served_fraction < threshold)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN becomes None, arrays become lists."""
        document: dict[str, Any] = plain(asdict(self))
        document["throughput_tokens_per_s"] = self.throughput_tokens_per_s
        document["per_adapter"]["served_fraction"] = plain(self.per_adapter.served_fraction)
        return document
