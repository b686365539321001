"""The fewest replicas: strategies side by side, each searched for its least number."""

from collections.abc import Iterator, Sequence
from typing import Final

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Judge, smallest_rank
from adapter_predictor.placement.packing import (
    EVENNESS,
    Bin,
    Evenness,
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
_MOST_CLASSES: Final = 4
_ASKED_FIRST: Final = 3


def fewest_even(
    demands: Sequence[AdapterDemand], judge: Judge, start: int, most: int, deadline: Deadline
) -> list[Bin] | None:
    """The fewest evenly loaded replicas: strides until it goes, then bisection.

    Once the deadline has passed, each try has twice as many as the one before: a plan with too many replicas
    is better than none, or one whose replicas starve.
    """
    low, high, stride = start - 1, min(start, most), 1
    found = even(demands, judge, high)
    while found is None and high < most:
        step = high if deadline.expired else stride
        low, high, stride = high, min(most, high + step), 2 * stride
        found = even(demands, judge, high)
    if found is None:
        return None
    while high - low > 1 and not deadline.expired:
        middle = (low + high) // 2
        fewer = even(demands, judge, middle)
        if fewer is None:
            low = middle
        else:
            high, found = middle, fewer
    return found


def fewer_bins(
    demands: Sequence[AdapterDemand],
    judge: Judge,
    start: int,
    most: int,
    best: list[Bin] | None,
    deadline: Deadline,
) -> list[Bin] | None:
    """Fewer replicas than evenly loaded ones, if another strategy finds such; the best that is known.

    Args:
        demands: The adapters.
        judge: Says what a replica can carry.
        start: No fewer replicas are tried.
        most: No more replicas are tried.
        best: What is known; None where nothing is.
        deadline: When to be content with what was found.
    """
    for strategy in (_by_evenness, _by_rank_groups, _by_filling):
        for found in strategy(demands, judge, start, most if best is None else len(best) - 1, deadline):
            if best is None or len(found) < len(best):
                best = found
        if best is not None and len(best) <= start:
            break
    return best


def even(
    demands: Sequence[AdapterDemand], judge: Judge, replicas: int, evenness: Evenness = EVENNESS[0]
) -> list[Bin] | None:
    """So many evenly loaded replicas; None where one of them cannot carry its load."""
    bins = spread(demands, replicas, evenness)
    return bins if _feasible(bins, judge) else None


def _by_evenness(
    demands: Sequence[AdapterDemand], judge: Judge, start: int, limit: int, deadline: Deadline
) -> Iterator[list[Bin]]:
    """Loads that are even in another sense, which may do where it is tight: one replica less at a time."""
    replicas = limit
    while replicas >= start and not deadline.expired:
        tried = (even(demands, judge, replicas, evenness) for evenness in EVENNESS)
        found = next((bins for bins in tried if bins is not None), None)
        if found is None:
            return
        yield found
        replicas -= 1


def _by_rank_groups(
    demands: Sequence[AdapterDemand], judge: Judge, start: int, limit: int, deadline: Deadline
) -> Iterator[list[Bin]]:
    """Even loads apart for groups of neighbouring ranks: only the widest adapters pay for wide slots."""
    ranks = sorted({smallest_rank(demand.rank) for demand in demands})
    known: dict[tuple[int, ...], list[Bin] | None] = {}
    for groups in _partitions(ranks):
        bins: list[Bin] = []
        for group in groups:
            if group not in known:
                known[group] = _group(demands, group, judge, limit, deadline)
            bins += known[group] or []
        if deadline.expired:
            return
        if all(known[group] for group in groups) and start <= len(bins) <= limit:
            yield bins


def _group(
    demands: Sequence[AdapterDemand], ranks: Sequence[int], judge: Judge, limit: int, deadline: Deadline
) -> list[Bin] | None:
    """The fewest evenly loaded replicas for the adapters of some ranks."""
    members = [index for index, demand in enumerate(demands) if smallest_rank(demand.rank) in ranks]
    own = [demands[index] for index in members]
    start = max(int(0.7 * limit * len(own) / len(demands)), *(demand.min_copies for demand in own))
    found = fewest_even(own, judge, min(start, limit), limit, deadline)
    if found is None:
        return None
    return [[piece._replace(adapter=members[piece.adapter]) for piece in pieces] for pieces in found]


def _partitions(ranks: Sequence[int]) -> Iterator[list[tuple[int, ...]]]:
    """Ways to cut the ranks into at least two groups of neighbours; only all apart where they are many."""
    if len(ranks) > _MOST_CLASSES:
        yield [(rank,) for rank in ranks]
        return
    for cuts in range(1, 2 ** (len(ranks) - 1)):
        groups: list[tuple[int, ...]] = [(ranks[0],)]
        for place, rank in enumerate(ranks[1:]):
            if cuts >> place & 1:
                groups.append((rank,))
            else:
                groups[-1] = (*groups[-1], rank)
        yield groups


def _by_filling(
    demands: Sequence[AdapterDemand], judge: Judge, start: int, limit: int, deadline: Deadline
) -> Iterator[list[Bin]]:
    """Replicas filled one after another, hot adapters together; then as many of them with more headroom."""
    pieces = copies_of(demands, limit)
    guess = max(1, len(pieces) // max(start, 1))
    orders = [by_rate(pieces)]
    if len({demand.rank for demand in demands}) > 1:
        orders.append(by_rank(pieces))
    for order in orders:
        if deadline.expired or limit < start:
            return
        filled = fill(order, judge, guess, limit, deadline)
        if filled is not None and _feasible(filled, judge):
            yield _levelled(order, judge, guess, filled, deadline)
            limit = len(filled) - 1


def _feasible(bins: Sequence[Bin], judge: Judge) -> bool:
    """Whether every replica that holds anything carries it; a few are asked first, which often settles it."""
    held = [contents_of(pieces) for pieces in bins if pieces]
    return bool(judge.carries(held[:_ASKED_FIRST]).all() and judge.carries(held[_ASKED_FIRST:]).all())


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
        levelled = fill(order, judge.stricter(middle), guess, len(filled), deadline)
        if levelled is None or not _feasible(levelled, judge):
            high = middle
        else:
            low, best = middle, levelled
    return best
