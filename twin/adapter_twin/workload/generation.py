"""From a workload and a seed to requests; every adapter draws from streams of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.workload.arrivals import arrival_times
from adapter_twin.workload.lengths import tokens_at
from adapter_twin.workload.merging import merged_order
from adapter_twin.workload.model import Requests, Workload
from adapter_twin.workload.random_streams import stream, streams

if TYPE_CHECKING:
    from numpy.typing import NDArray


def generate(workload: Workload, seed: int) -> Requests:
    """Requests of the whole duration, sorted by arrival; the same seed gives the same bytes.

    An adapter's requests depend on the seed and its own name, rate and lengths, not on other adapters.
    """
    names = [adapter.name for adapter in workload.adapters]
    times = [
        arrival_times(workload.arrivals, adapter.rate, workload.duration_s, random)
        for adapter, random in zip(workload.adapters, streams(seed, "arrivals", names), strict=True)
    ]
    ends = np.cumsum([own.size for own in times], dtype=np.int64)
    scores = np.empty((int(ends[-1]) if times else 0, 2))
    for own, end, random in zip(times, ends, streams(seed, "lengths", names), strict=True):
        random.standard_normal(out=scores[end - own.size : end])
    prompt, output = _lengths(workload, scores)
    arrival_s = np.concatenate([np.empty(0), *times])
    order, owner = merged_order(arrival_s, ends)
    return Requests(arrival_s[order], prompt[order], output[order], owner)


def generate_lengths(
    workload: Workload, count: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Prompt and output tokens of `count` requests whose arrivals are already known."""
    return _lengths(workload, stream(seed, "lengths").standard_normal((count, 2)))


def _lengths(workload: Workload, scores: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Prompt and output tokens from independent normal scores, shape (requests, 2), by a Gaussian copula."""
    rho = workload.correlation
    mixed = rho * scores[:, 0] + np.sqrt(1.0 - rho * rho) * scores[:, 1]
    prompt = np.minimum(tokens_at(workload.prompt, scores[:, 0]), workload.max_total_tokens - 1)
    output = tokens_at(workload.output, mixed)
    return prompt, np.minimum(output, workload.max_total_tokens - prompt)


def route(
    workload: Workload, requests: Requests, shares: NDArray[np.float64], seed: int
) -> NDArray[np.int32]:
    """The replica that each request goes to, -1 where the shares leave it to none.

    Args:
        workload: the adapters; each draws from a stream of its own.
        requests: generated from the workload.
        shares: fraction of each adapter's traffic, shape (replicas, adapters).
        seed: that of the requests.
    """
    limits = np.cumsum(shares, axis=0)
    limits[limits > 1.0 - 1e-9] = 1.0
    owner = np.full(requests.count, -1, dtype=np.int32)
    by_adapter = np.argsort(requests.adapter, kind="stable")
    counts = np.bincount(requests.adapter, minlength=len(workload.adapters))
    ends = np.cumsum(counts)
    names = [adapter.name for adapter in workload.adapters]
    for i, random in enumerate(streams(seed, "routing", names)):
        own = by_adapter[ends[i] - counts[i] : ends[i]]
        place = np.searchsorted(limits[:, i], random.random(own.size), side="right")
        owner[own] = np.where(place < shares.shape[0], place, -1)
    return owner
