"""From a workload and a seed to requests; every adapter draws from streams of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from adapter_twin.workload.arrivals import arrival_times
from adapter_twin.workload.model import Requests, Workload
from adapter_twin.workload.random_streams import stream


def generate(workload: Workload, seed: int) -> Requests:
    """Requests of the whole duration, sorted by arrival; the same seed gives the same bytes.

    An adapter's requests depend on the seed and its own name, rate and lengths alone, not on the other adapters.
    """
    times = [
        arrival_times(workload.arrivals, a.rate, workload.duration_s, stream(seed, "arrivals", a.name))
        for a in workload.adapters
    ]
    scores = [
        stream(seed, "lengths", a.name).standard_normal((own.size, 2))
        for a, own in zip(workload.adapters, times, strict=True)
    ]
    arrival_s = np.concatenate([np.empty(0), *times])
    owner = np.repeat(np.arange(len(times), dtype=np.int32), [own.size for own in times])
    prompt, output = _lengths(workload, np.concatenate([np.empty((0, 2)), *scores]))
    order = np.argsort(arrival_s, kind="stable")
    return Requests(arrival_s[order], prompt[order], output[order], owner[order])


def _lengths(workload: Workload, scores: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Prompt and output tokens from independent normal scores, shape (requests, 2), by a Gaussian copula."""
    rho = workload.correlation
    mixed = rho * scores[:, 0] + np.sqrt(1.0 - rho * rho) * scores[:, 1]
    prompt = workload.prompt.quantile(ndtr(scores[:, 0]))
    prompt = np.minimum(prompt, workload.max_total_tokens - 1)
    output = workload.output.quantile(ndtr(mixed))
    return prompt, np.minimum(output, workload.max_total_tokens - prompt)


def thin(requests: Requests, shares: NDArray[np.float64], seed: int, *names: str) -> Requests:
    """Keep each request with its adapter's share, by a stream named `names`; shape of shares: (adapters,)."""
    draw = stream(seed, "thinning", *names).random(requests.count)
    return requests.select(draw < shares[requests.adapter])
