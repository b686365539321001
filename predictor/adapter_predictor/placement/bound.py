"""A lower bound on GPUs: a configuration program over the columns of the predictor's feasible region.

The program chooses how many replicas of each column there are, so that the adapters of every kind and rank
class are covered; its optimum, rounded up, is a bound, since every plan is one of its solutions. Columns
reach as far as the predictor has not denied, so the optimum only rises as it is asked more: a bound at any
time.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import FloatArray, Judge, smallest_rank
from adapter_predictor.placement.region import Region, on_scale, rate_scale
from adapter_predictor.placement.result import LowerBound

_TOLERANCE: Final = 5e-3
_ROUNDS: Final = 100
_ASKED_AT_ONCE: Final = 96
_WORTH_ASKING: Final = 0.97
_MOST_CLASSES: Final = 4
_USED: Final = 1e-7

STATEMENT: Final = (
    "no plan with fewer GPUs is feasible for the predictor, headroom and margin counted (replicas limited by "
    "their rate and by how many of their adapters are active); the twin's verdict is another matter"
)


class _Optimum(NamedTuple):
    """Replicas needed, each column's number (columns), and the prices of kinds (classes, kinds)."""

    replicas: float
    chosen: FloatArray
    prices: FloatArray


def lower_bound(
    demands: Sequence[AdapterDemand],
    judge: Judge,
    tensor_parallel_size: int,
    *,
    enough: int = 10**9,
    deadline: Deadline | None = None,
) -> LowerBound:
    """The fewest GPUs that the predictor might allow.

    Args:
        demands: The adapters.
        judge: Asks the predictor.
        tensor_parallel_size: GPUs of a replica.
        enough: A number of replicas that is known to suffice: nobody needs to know of a higher bound.
        deadline: When to be content with a bound that may be loose.
    """
    copies = max(demand.min_copies for demand in demands)
    replicas = max(copies, 1)
    if replicas < enough and any(demand.rate > 0.0 for demand in demands):
        replicas = max(replicas, _program(demands, judge, enough, deadline or Deadline.after(None)))
    return LowerBound(min(replicas, enough) * tensor_parallel_size, STATEMENT)


def _program(demands: Sequence[AdapterDemand], judge: Judge, enough: int, deadline: Deadline) -> int:
    """Replicas by the configuration program, refined until it is exact, enough, or time is up."""
    scale = rate_scale(np.array([demand.rate for demand in demands]))
    ranks = _rank_classes(demands)
    region = Region.found(judge, scale, ranks, deadline)
    if region is None or not region.outer.size:
        return 0
    needed = _needed(demands, scale, ranks)
    optimum = _solved(region, needed)
    for _ in range(_ROUNDS):
        if deadline.expired or _rounded(optimum) >= enough:
            break
        if not (region.vague & (optimum.chosen > _USED)).any():
            break
        region.refine(_promising(region, optimum))
        optimum = _solved(region, needed)
    return _rounded(optimum)


def _rank_classes(demands: Sequence[AdapterDemand]) -> list[int]:
    """The ranks that slots must have; where they are many, the upper ones count as lower, which is easier."""
    found = sorted({smallest_rank(demand.rank) for demand in demands})
    if len(found) <= _MOST_CLASSES:
        return found
    kept = {round(i * (len(found) - 1) / _MOST_CLASSES) for i in range(_MOST_CLASSES)}
    return [found[index] for index in sorted(kept)]


def _needed(demands: Sequence[AdapterDemand], scale: FloatArray, ranks: Sequence[int]) -> FloatArray:
    """Adapters of each kind whose slots are at least of each class's rank, shape (classes, kinds)."""
    own = np.array([np.searchsorted(ranks, smallest_rank(d.rank), side="right") - 1 for d in demands])
    rates = np.array([demand.rate for demand in demands])
    by_class = np.array([on_scale(rates[own == index], scale) for index in range(len(ranks))])
    return by_class[::-1].cumsum(axis=0)[::-1]


def _solved(region: Region, needed: FloatArray) -> _Optimum:
    """The cheapest cover: replicas of a class may hold adapters of its rank and below."""
    classes = np.arange(len(region.ranks))[:, None, None]
    supply = np.where(region.rank_index >= classes, region.reach.T, 0.0).reshape(needed.size, -1)
    solved = linprog(np.ones(supply.shape[1]), A_ub=-supply, b_ub=-needed.ravel(), method="highs-ds")
    if not solved.success:
        return _Optimum(0.0, np.zeros(supply.shape[1]), np.zeros_like(needed))
    return _Optimum(float(solved.fun), solved.x, -solved.ineqlin.marginals.reshape(needed.shape))


def _promising(region: Region, optimum: _Optimum) -> NDArray[np.int64]:
    """The vague columns that are worth the most at the program's prices."""
    prices = optimum.prices.cumsum(axis=0)[region.rank_index]
    worth = (region.reach * prices).sum(axis=1)
    asked = np.flatnonzero(region.vague & (worth > _WORTH_ASKING))
    return asked[np.argsort(-worth[asked], kind="stable")][:_ASKED_AT_ONCE]


def _rounded(optimum: _Optimum) -> int:
    """The optimum rounded up, forgiving what bisections leave."""
    return math.ceil(optimum.replicas * (1.0 - _TOLERANCE))
