"""What replicas can carry at most: the edge of the predictor's feasible region, as far as a bound asks.

A replica is summarised by how many adapters of each *kind* it holds; a kind is a rate on a short scale. What
limits a replica are its rate and how many of its adapters are active at a time, and both are sums over its
adapters. So among replicas that a linear price likes best there is always one of at most two kinds: these are
the columns. An adapter between two rates of the scale counts as a mixture of both, which costs no more, since
the chance of being active is concave in the rate; a share of an adapter counts as that part of one.

How far a column reaches is found by asking the predictor, and only as exactly as somebody needs to know:
every column has an inner scale that was seen to be feasible and an outer one that was not.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement.judge import Contents, FloatArray, Judge

MOST_RATES: Final = 8
"""Rates on the scale; more are slower and hardly tighter."""

EXACT: Final = 1.004
"""Outer over inner scale at which a column is known well enough."""

_COLDEST_RATE: Final = 0.01
_HOTTEST_RATE: Final = 4.0
_LEAST_RATIO: Final = 1.7
_SHARES: Final = (0.2, 0.4, 0.6, 0.8)
_DENT: Final = 0.7
_NO_RATE: Final = 1e-9
_DOUBLINGS: Final = 14
_BISECTIONS: Final = 12
_ISLANDS: Final = (1.01, 1.03, 1.06, 1.1, 1.2, 1.4)


def rate_scale(rates: FloatArray) -> FloatArray:
    """The rates that kinds of adapters have: those there are, or a geometric scale where they are many.

    Far below one request per residence and far above it the chance of being active is a straight line, so
    that the scale is fine only in between.
    """
    distinct = np.unique(rates[rates > _NO_RATE])
    if len(distinct) <= MOST_RATES // 2:
        return distinct
    low, high = max(float(distinct[0]), _COLDEST_RATE), float(distinct[-1])
    low, top = min(low, high), min(high, _HOTTEST_RATE)
    fine = math.ceil(math.log(max(top / low, 1.0)) / math.log(_LEAST_RATIO)) + 1
    scale = np.geomspace(low, top, max(2, min(MOST_RATES - 1, fine))) if top > low else np.array([low])
    return np.append(scale, high) if high > scale[-1] * EXACT else scale


def on_scale(rates: FloatArray, scale: FloatArray) -> FloatArray:
    """How many adapters of each kind adapters of these rates amount to, shape (len(scale))."""
    counts = np.zeros(len(scale))
    cold, hot = rates <= scale[0], rates > scale[-1]
    counts[0] += rates[cold].sum() / scale[0]
    counts[-1] += rates[hot].sum() / scale[-1]
    between = rates[~cold & ~hot]
    upper = np.searchsorted(scale, between)
    part = (between - scale[upper - 1]) / (scale[upper] - scale[upper - 1])
    np.add.at(counts, upper, part)
    np.add.at(counts, upper - 1, 1.0 - part)
    return counts


def mixture(scale: FloatArray, amounts: FloatArray, rank: int) -> Contents:
    """A replica with these amounts of adapters of each kind; what is left of a whole adapter is a share."""
    whole = amounts.astype(np.int64)
    parts = (amounts - whole) * scale
    return Contents(np.concatenate([np.repeat(scale, whole), parts[parts > _NO_RATE]]), rank)


@dataclass
class Region:
    """Columns, each with the scales between which the predictor's verdict turns.

    Attributes:
        judge: Asks the predictor.
        scale: Rates of the kinds, requests/s, shape (kinds).
        ranks: Rank classes, lowest first.
        amounts: Adapters of each kind at a scale of 1, shape (columns, kinds).
        rank_index: Each column's rank class, shape (columns).
        inner: Scales seen to be feasible, shape (columns).
        outer: Scales seen not to be, or that no replica can reach, shape (columns).
    """

    judge: Judge
    scale: FloatArray
    ranks: Sequence[int]
    amounts: FloatArray = field(init=False)
    rank_index: NDArray[np.int64] = field(init=False)
    inner: FloatArray = field(init=False)
    outer: FloatArray = field(init=False)

    @classmethod
    def found(cls, judge: Judge, scale: FloatArray, ranks: Sequence[int], deadline: Deadline) -> Self | None:
        """The region with its corners (replicas of one kind); None where the deadline came first."""
        region = cls(judge, scale, ranks)
        corners = [_corners(judge, scale, rank, deadline) for rank in ranks]
        if deadline.expired:
            return None
        columns = [(i, *column) for i, found in enumerate(corners) for column in _columns(found)]
        region.rank_index = np.array([index for index, *_ in columns], dtype=np.int64)
        region.amounts = np.array([amounts for _, amounts, *_ in columns])
        region.inner = np.array([inner for *_, inner, _ in columns])
        region.outer = np.array([outer for *_, outer in columns])
        return region

    @property
    def reach(self) -> FloatArray:
        """What columns hold at the most, shape (columns, kinds)."""
        return self.amounts * self.outer[:, None]

    @property
    def vague(self) -> NDArray[np.bool_]:
        """Columns whose reach is not known exactly, shape (columns)."""
        return self.outer > EXACT * self.inner

    def refine(self, columns: NDArray[np.int64]) -> None:
        """Ask about some columns, each halfway between its scales."""
        middle = np.sqrt(self.inner[columns] * self.outer[columns])
        carried = self.judge.carries(
            [
                mixture(self.scale, scale * self.amounts[c], self.ranks[self.rank_index[c]])
                for scale, c in zip(middle, columns, strict=True)
            ]
        )
        self.inner[columns] = np.where(carried, middle, self.inner[columns])
        self.outer[columns] = np.where(carried, self.outer[columns], middle)


def _columns(corners: FloatArray) -> Iterator[tuple[FloatArray, float, float]]:
    """Amounts, inner and outer scale of a rank class's columns: one kind alone, and each two of them.

    A mixture of shares t and 1 - t of two corners cannot exceed either corner.
    """
    kinds = np.flatnonzero(corners > 0.0)
    for kind in kinds:
        yield np.where(np.arange(len(corners)) == kind, corners, 0.0), 1.0, 1.0
    for first, second in combinations(kinds, 2):
        for share in _SHARES:
            amounts = np.zeros(len(corners))
            amounts[[first, second]] = share * corners[first], (1.0 - share) * corners[second]
            yield amounts, _DENT, 1.0 / max(share, 1.0 - share)


def _corners(judge: Judge, scale: FloatArray, rank: int, deadline: Deadline) -> FloatArray:
    """How many adapters of one kind alone a replica carries, for each kind, shape (kinds)."""

    def carried(amounts: FloatArray) -> NDArray[np.bool_]:
        rows = np.diag(amounts)
        return judge.carries([mixture(scale, row, rank) for row in rows])

    low, high = np.zeros(len(scale)), 1.0 / scale
    growing = np.ones(len(scale), dtype=np.bool_)
    for _ in range(_DOUBLINGS):
        if deadline.expired or not growing.any():
            break
        growing &= carried(high)
        low, high = np.where(growing, high, low), np.where(growing, 2.0 * high, high)
    low, high = _bisected(carried, low, high, deadline)
    for factor in _ISLANDS:
        if not deadline.expired:
            beyond = carried(factor * high)
            low, high = np.where(beyond, factor * high, low), np.where(beyond, 1.02 * factor * high, high)
    return high


def _bisected(
    carried: Callable[[FloatArray], NDArray[np.bool_]], low: FloatArray, high: FloatArray, deadline: Deadline
) -> tuple[FloatArray, FloatArray]:
    for _ in range(_BISECTIONS):
        if deadline.expired:
            break
        middle = 0.5 * (low + high)
        good = carried(middle)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return low, high
