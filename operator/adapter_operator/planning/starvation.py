"""When an adapter starves, and when it was only unlucky.

An adapter with few requests in the horizon shows a low served fraction now and then by chance: one late
request out of five is 20 %. So an adapter is called starving only if two things hold:

* its served fraction, in tokens of requests that could have finished before the end, is below the objective;
* so few of its requests were completed that, if each were with the objective's probability, this would
  happen with less than `FALSE_ALARM` probability to *any* adapter of the plan (exact binomial tail,
  Bonferroni over the adapters with requests).

An adapter with 2 requests of which none is served passes at an objective of 95 % and 160 adapters
(0.05² = 0.0025 is more than 0.01 / 160); with 3 it is starving. The replica's own served fraction, which has
thousands of requests behind it, is judged without any such allowance.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

FALSE_ALARM = 0.01
"""Probability that a plan which serves every adapter exactly at the objective is blamed for any of them."""


def starving_adapters(
    requests: NDArray[np.int64],
    completed: NDArray[np.int64],
    served_fraction: NDArray[np.float64],
    objective: float,
) -> NDArray[np.bool_]:
    """Which adapters starve.

    Args:
        requests: Requests of each adapter, shape (adapters), over all seeds and replicas.
        completed: Those of them that were served, shape (adapters).
        served_fraction: Tokens completed over tokens offered, shape (adapters).
        objective: The least served fraction allowed.

    Returns:
        Shape (adapters).
    """
    tested = max(1, int(np.count_nonzero(requests)))
    chance = bdtr(completed.astype(np.float64), requests, objective)
    starving: NDArray[np.bool_] = (served_fraction < objective) & (chance < FALSE_ALARM / tested)
    return starving
