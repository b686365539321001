"""A lower bound on GPUs: the configuration program over summaries of replicas.

A replica is summarised by the rank class of its adapters, how many it holds and the rate that it carries. The
program chooses how many replicas of each summary there are, so that rates and copies suffice; its optimum,
rounded up, is a bound, since every plan is one of its solutions.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import linprog

from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Contents, FloatArray, Judge, smallest_rank
from adapter_predictor.placement.result import LowerBound

_COUNT_GROWTH: Final = 1.25
_BISECTIONS: Final = 16
_TOLERANCE: Final = 1e-6

STATEMENT: Final = (
    "no plan with fewer GPUs is feasible for the predictor (headroom and margin counted, and mixes with few "
    "hot adapters taken to be the easiest to serve); the twin's verdict is another matter"
)


class Summary(NamedTuple):
    """An extreme replica: of one rank class, with so many adapters it carries no more than this rate."""

    rank: int
    copies: int
    rate: float


def lower_bound(demands: Sequence[AdapterDemand], judge: Judge, tensor_parallel_size: int) -> LowerBound:
    """The fewest GPUs that the predictor might allow."""
    copies = max(demand.min_copies for demand in demands)
    summaries = [summary for rank in _classes(demands) for summary in _summaries(demands, rank, judge)]
    replicas = max(copies, math.ceil(_optimum(demands, summaries) - _TOLERANCE), 1)
    return LowerBound(replicas * tensor_parallel_size, STATEMENT)


def _classes(demands: Sequence[AdapterDemand]) -> list[int]:
    return sorted({smallest_rank(demand.rank) for demand in demands})


def _optimum(demands: Sequence[AdapterDemand], summaries: Sequence[Summary]) -> float:
    """The optimum of the linear program; 0 where the summaries cannot carry the demand at all."""
    classes = _classes(demands)
    needed = [math.fsum(demand.rate for demand in demands)]
    needed += [
        sum(demand.min_copies for demand in demands if smallest_rank(demand.rank) == rank) for rank in classes
    ]
    if not summaries:
        return 0.0
    supply = np.zeros((len(needed), len(summaries)))
    for column, summary in enumerate(summaries):
        supply[0, column] = summary.rate
        supply[1 + classes.index(summary.rank), column] = summary.copies
    solved = linprog(np.ones(len(summaries)), A_ub=-supply, b_ub=-np.array(needed), method="highs")
    return float(solved.fun) if solved.success else 0.0


def _summaries(demands: Sequence[AdapterDemand], rank: int, judge: Judge) -> list[Summary]:
    """The most that replicas carry with 1, 2, … adapters: as many of the hottest as go with the coldest.

    Adapters of all classes count as adapters of this one: a replica of mixed ranks is then never better than
    a mixture of replicas of one rank each.
    """
    cold = np.sort(np.concatenate([np.full(d.min_copies, d.rate / d.min_copies) for d in demands]))
    hot = np.sort([demand.rate for demand in demands])[::-1]
    counts = _counts(len(cold))
    low, high = np.zeros(len(counts)), np.minimum(counts, len(hot)).astype(np.float64)
    possible = np.array(judge.carries([_mix(hot, cold, int(count), 0.0, rank) for count in counts]))
    whole = np.array(
        judge.carries([_mix(hot, cold, int(c), float(h), rank) for c, h in zip(counts, high, strict=True)])
    )
    low = np.where(whole, high, low)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        carried = judge.carries(
            [_mix(hot, cold, int(c), float(h), rank) for c, h in zip(counts, middle, strict=True)]
        )
        low, high = np.where(carried, middle, low), np.where(carried, high, middle)
    return [
        Summary(rank, int(count), float(_mix(hot, cold, int(count), float(number), rank).rates.sum()))
        for count, number in zip(counts[possible], high[possible], strict=True)
    ]


def _counts(most: int) -> FloatArray:
    """Numbers of adapters to ask about, growing by a quarter; the last is all of them."""
    counts = {1, most}
    count = 1.0
    while count < most:
        counts.add(min(most, math.ceil(count)))
        count = max(count + 1.0, count * _COUNT_GROWTH)
    return np.array(sorted(counts))


def _mix(hot: FloatArray, cold: FloatArray, count: int, hottest: float, rank: int) -> Contents:
    """`count` adapters, `hottest` of which (a fraction is a part of one) are the hottest there are."""
    whole = min(int(hottest), count)
    part = hottest - whole
    rates = [*hot[:whole], *([hot[whole] * part] if part > 0.0 and whole < min(count, len(hot)) else [])]
    return Contents(np.concatenate([rates, cold[: max(0, count - len(rates))]]), rank)
