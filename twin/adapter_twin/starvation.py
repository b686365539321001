"""When an adapter starves, when it was only unlucky, and how much starving a plan may hold.

vLLM passes a request over while all slots are held by other adapters, and knows no ageing. So a busy
replica that serves nearly all of its tokens may still leave single adapters waiting for minutes. A plan
meets a served fraction of, say, 95 % if on every replica

* at least 95 % of the tokens are served,
* at least 95 % of the traffic belongs to adapters that do not starve, and
* no adapter is shut out, which means served less than half of the objective, be its traffic ever so little.

An adapter with few requests in the horizon shows a low served fraction now and then by chance: one late
request out of five is 20 %. So an adapter is called starving (or shut out) only if two things hold:

* its served fraction, in tokens of requests that could have finished before the end, is below the objective
  (or half of it); and
* so few of its requests were completed that, if each were with that probability, this would happen with
  less than `FALSE_ALARM` probability to *any* adapter of the plan (exact binomial tail, Bonferroni over the
  adapters with requests).

An adapter with 2 requests of which none is served passes at an objective of 95 % and 160 adapters (0.05² =
0.0025 is more than 0.01 / 160); with 4 it is starving.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

FALSE_ALARM = 0.01
"""Probability that a plan which serves every adapter exactly at the objective is blamed for any of them."""

SHUT_OUT = 0.5
"""An adapter served less than this part of the objective is shut out."""


def significantly_below(
    level: float,
    requests: NDArray[np.int64],
    completed: NDArray[np.int64],
    served_fraction: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which adapters are served less than a level, by more than chance explains.

    Args:
        level: A served fraction.
        requests: Requests of each adapter, shape (adapters), over all seeds and replicas.
        completed: Those of them that were completed, shape (adapters).
        served_fraction: Tokens completed over tokens offered, shape (adapters).

    Returns:
        Shape (adapters).
    """
    tested = max(1, int(np.count_nonzero(requests)))
    chance = bdtr(completed.astype(np.float64), requests, level)
    below: NDArray[np.bool_] = (served_fraction < level) & (chance < FALSE_ALARM / tested)
    return below
