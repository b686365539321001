"""The fewest replicas: strategies side by side, each searched for its least number."""

from collections.abc import Sequence
from typing import Final

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Judge
from adapter_predictor.placement.packing import (
    Bin,
    Piece,
    by_rank,
    by_rate,
    contents_of,
    copies_of,
    fill,
    spread,
)

_LEVELLING_STEPS: Final = 4
_MOST_LEVELLING: Final = 0.4


def fewest_bins(
    demands: Sequence[AdapterDemand], judge: Judge, start: int, most: int, deadline: Deadline
) -> list[Bin] | None:
    """The replicas of the strategy that needs the fewest; even loads win a draw.

    Args:
        demands: The adapters.
        judge: Says what a replica can carry.
        start: No fewer replicas are tried.
        most: No more replicas are tried.
        deadline: When to be content with what was found.
    """
    best = _fewest_even(demands, judge, start, most, deadline)
    if best is not None and len(best) == start:
        return best
    limit = most if best is None else len(best) - 1
    pieces = copies_of(demands, most)
    guess = max(1, len(pieces) // max(start, 1))
    orders = [by_rate(pieces)]
    if len({demand.rank for demand in demands}) > 1:
        orders.append(by_rank(pieces))
    for order in orders:
        if deadline.expired or limit < start:
            break
        filled = fill(order, judge, guess, limit)
        if filled is not None and _feasible(filled, judge):
            best, limit = _levelled(order, judge, guess, filled, deadline), len(filled) - 1
    return best


def _fewest_even(
    demands: Sequence[AdapterDemand], judge: Judge, start: int, most: int, deadline: Deadline
) -> list[Bin] | None:
    """The fewest evenly loaded replicas: strides until it goes, then bisection."""
    low, high, stride = start - 1, start, 1
    found = _even(demands, judge, high)
    while found is None:
        if high >= most or deadline.expired:
            return None
        low, high, stride = high, min(most, high + stride), 2 * stride
        found = _even(demands, judge, high)
    while high - low > 1 and not deadline.expired:
        middle = (low + high) // 2
        fewer = _even(demands, judge, middle)
        if fewer is None:
            low = middle
        else:
            high, found = middle, fewer
    return found


def _even(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> list[Bin] | None:
    bins = spread(demands, replicas)
    return bins if _feasible(bins, judge) else None


def _feasible(bins: Sequence[Bin], judge: Judge) -> bool:
    """Whether every replica that holds anything carries it."""
    return all(judge.carries([contents_of(pieces) for pieces in bins if pieces]))


def _levelled(
    order: Sequence[Piece], judge: Judge, guess: int, filled: list[Bin], deadline: Deadline
) -> list[Bin]:
    """As many replicas, but with what is unused in the last one shared by all: more headroom for each."""
    low, high, best = 0.0, _MOST_LEVELLING, filled
    if len(filled) == 1:
        return filled
    for _ in range(_LEVELLING_STEPS):
        if deadline.expired:
            break
        middle = 0.5 * (low + high)
        levelled = fill(order, judge.stricter(middle), guess, len(filled))
        if levelled is None or not _feasible(levelled, judge):
            high = middle
        else:
            low, best = middle, levelled
    return best
