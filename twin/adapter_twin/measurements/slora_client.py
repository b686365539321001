"""The client of the measured S-LoRA runs, repeated from a run's settings alone.

It sends requests one by one and sleeps after each: for a gap drawn from numpy's legacy generator, seeded with
0, and a little longer, which is what sending and the event loop's timer cost. It stops when it has sent 1,440
requests per request/s, or all the prompts that it has; but not before 1,200 s. Then whatever is unfinished is
cancelled. Cancelled requests are not counted as completed, but count with the duration of the run in the mean
time to the first token. Which adapter a request is for is drawn uniformly.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PROMPT_TOKENS = 250
OUTPUT_TOKENS = 230
SHORTEST_RUN_S = 1200.0
PROMPTS = 93_600
"""Prompts that the client has; from 64 requests/s on it runs out of them."""
_REQUESTS_PER_RATE_S = 1440.0
_SEND_S = 0.75e-3
_SEND_BUSY_S = 0.20e-3
"""Added when the streams of a saturated server keep the event loop busy."""
_BUSY_BETWEEN_RPS = (8.0, 20.0)


class Sent(NamedTuple):
    """What a client sent, and when it stopped."""

    arrival_s: NDArray[np.float64]
    duration_s: float


@lru_cache(maxsize=8)
def sent_requests(offered_rate_rps: float, seed: int = 0) -> Sent:
    """Arrivals and duration of a run; the measured ones have seed 0."""
    count = min(round(_REQUESTS_PER_RATE_S * offered_rate_rps), PROMPTS)
    busy = float(np.interp(offered_rate_rps, _BUSY_BETWEEN_RPS, (0.0, 1.0)))
    gaps = np.random.RandomState(seed).standard_exponential(count) / offered_rate_rps
    times = np.concatenate([[0.0], np.cumsum(gaps + _SEND_S + busy * _SEND_BUSY_S)])
    times.setflags(write=False)
    return Sent(times[:-1], max(SHORTEST_RUN_S, float(times[-1])))


def chosen_adapters(requests: int, adapters: int, seed: int = 0) -> NDArray[np.int32]:
    """The adapter of each request; the client's own draws are not known."""
    return np.random.default_rng(seed).integers(adapters, size=requests, dtype=np.int32)
