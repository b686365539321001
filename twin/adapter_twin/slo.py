"""What counts as served: one definition for labels, predictions and verdicts.

**Served fraction** = tokens of completed requests / tokens of offered requests (prompt and output), over
those requests that a replica without a queue would have completed before the end. A request that arrives
shortly before the end cannot finish however good the plan is; counting it as unserved would make every short
simulation look starved. So a request counts only if it arrived at least `output_tokens × mean inter-token
latency` before the end: the time that its tokens take at the pace at which the replica did generate. That
pace is observed, so a replica that is slow without a queue is not called starving (its latency objective
says that it is slow), while time spent in the queue never excuses anything. Requests turned away at the
connection cap are offered and never completed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STARVATION_THRESHOLD = 0.9
"""Below this served fraction, or this part of the ideal throughput, measured runs are labelled as starving
(arXiv:2508.08343)."""


def completable(
    arrival_s: NDArray[np.float64],
    output_tokens: NDArray[np.int32],
    *,
    itl_mean_s: float,
    duration_s: float,
) -> NDArray[np.bool_]:
    """Requests that would have completed before the end without a queue, same shape.

    Args:
        arrival_s: arrival times.
        output_tokens: tokens to generate.
        itl_mean_s: mean time between tokens; NaN if none was measured, then every request counts.
        duration_s: end of the simulation.
    """
    pace_s = itl_mean_s if np.isfinite(itl_mean_s) else 0.0
    return arrival_s + output_tokens * pace_s <= duration_s


def served_fraction(completed_tokens: float, offered_tokens: float) -> float:
    """Completed over offered tokens of completable requests; 1 where nothing was offered."""
    return completed_tokens / offered_tokens if offered_tokens > 0 else 1.0
