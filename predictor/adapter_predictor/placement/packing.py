"""Putting adapters on replicas: replicas filled one after another, or a given number loaded evenly.

Filling in the order of rates puts hot adapters together, which then need few slots and leave the memory to
the KV cache. Loading evenly gives every replica the same mix. Which of them needs fewer replicas depends on
the workload, so a placement tries both.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Contents, FloatArray, Judge


@dataclass(frozen=True)
class Evenness:
    """In what sense loads are even.

    Attributes:
        window_s: Seconds in which an adapter with a request counts as active.
        grain: Pieces of an adapter are at most this part of a replica's even share of the rate.
        standby: The most of an adapter's traffic for a copy that is there for minimum copies alone.
        wrapped_from: Adapters of at least this part of a replica's even share are laid end to end and cut.
    """

    window_s: float = 20.0
    grain: float = 1.0
    standby: float = 1.0
    wrapped_from: float = math.inf


EVENNESS: Final = (
    Evenness(),
    Evenness(wrapped_from=0.1),
    Evenness(grain=0.3),
    Evenness(6.0),
    Evenness(60.0),
    Evenness(6.0, 0.3),
    Evenness(standby=0.1),
    Evenness(6.0, standby=0.1, wrapped_from=0.1),
)
"""What is tried in turn where loads are tight."""

SMALLEST_SPLIT: Final = 0.05
"""An adapter is split to fill a replica where this much of the replica's rate would stay unused otherwise."""

_SMALLEST_PART: Final = 0.1
_SLIVER: Final = 0.02
_SHARE_BISECTIONS: Final = 10
_PROBES: Final = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)


class Piece(NamedTuple):
    """A share of an adapter's traffic, which one replica serves whole."""

    adapter: int
    share: float
    rate: float
    rank: int


Bin = list[Piece]


def contents_of(pieces: Sequence[Piece]) -> Contents:
    """What a replica with these pieces holds."""
    rates = np.array([piece.rate for piece in pieces], dtype=np.float64)
    return Contents(rates, max((piece.rank for piece in pieces), default=1))


def copies_of(demands: Sequence[AdapterDemand], most: int) -> list[Piece]:
    """The pieces that minimum copies ask for, at most `most` of an adapter."""
    pieces: list[Piece] = []
    for index, demand in enumerate(demands):
        copies = min(demand.min_copies, most)
        pieces += [Piece(index, 1.0 / copies, demand.rate / copies, demand.rank)] * copies
    return pieces


def by_rate(pieces: Iterable[Piece]) -> list[Piece]:
    """Hottest first."""
    return sorted(pieces, key=lambda piece: (-piece.rate, piece.adapter))


def by_rank(pieces: Iterable[Piece]) -> list[Piece]:
    """Adapters of one rank together, so that only one replica pads the slots of two ranks; hottest first."""
    return sorted(pieces, key=lambda piece: (-piece.rank, -piece.rate, piece.adapter))


def fill(
    pieces: Sequence[Piece], judge: Judge, guess: int, most: int, deadline: Deadline
) -> list[Bin] | None:
    """Replicas filled one after another in the order of the pieces.

    Args:
        pieces: What is to be placed.
        judge: Says what a replica can carry.
        guess: Pieces that the first replica may carry; a good guess saves time.
        most: Replicas, at most.
        deadline: When to give up.

    Returns:
        The replicas, or None where a piece fits nowhere, they would be more than `most`, or time is up.
    """
    bins: list[Bin] = []
    queue = list(pieces)
    while queue:
        if len(bins) == most or deadline.expired:
            return None
        fitting, others = _one_of_each(queue)
        count = _largest_prefix(fitting, judge, guess)
        filled, rest = fitting[:count], fitting[count:]
        guess = max(count, 1)
        if rest:
            filled, rest = _with_part_of_next(filled, rest, judge)
        if not filled:
            return None
        bins.append(filled)
        queue = rest + others
    return bins


def spread(demands: Sequence[AdapterDemand], replicas: int, evenness: Evenness = EVENNESS[0]) -> list[Bin]:
    """A given number of replicas with the same mix: the heaviest piece goes to the lightest replica.

    Adapters hotter than a replica's even share (or a part of it) are split. A piece weighs by its rate and by
    how likely it is to be active at a time, so that slots are evenly used too.
    """
    laid = laid_end_to_end(demands, replicas, evenness.wrapped_from)
    owners, shares = even_pieces(demands, replicas, evenness)
    loose = ~np.isin(owners, [index for _, index, _ in laid])
    owners = np.concatenate([np.array([index for _, index, _ in laid], dtype=np.int64), owners[loose]])
    shares = np.concatenate([[share for *_, share in laid], shares[loose]])
    weights = piece_weights(demands, owners, shares, evenness)
    bins: list[Bin] = [[] for _ in range(replicas)]
    loads = np.zeros(replicas)
    for (replica, index, share), weight in zip(laid, weights.tolist(), strict=False):
        bins[replica].append(_piece(index, demands[index], share))
        loads[replica] += weight
    order = np.lexsort((owners, -weights))
    order = order[order >= len(laid)]
    pieces = zip(owners[order].tolist(), shares[order].tolist(), weights[order].tolist(), strict=True)
    _on_lightest(demands, pieces, bins, loads)
    return bins


def _on_lightest(
    demands: Sequence[AdapterDemand],
    pieces: Iterable[tuple[int, float, float]],
    bins: list[Bin],
    loads: FloatArray,
) -> None:
    """Put pieces (adapter, share, weight) in turn on the lightest replica that lacks the adapter."""
    heap = [(load, index) for index, load in enumerate(loads.tolist())]
    heapq.heapify(heap)
    holders: dict[int, set[int]] = {}
    for index, share, weight in pieces:
        held = holders.setdefault(index, set())
        passed: list[tuple[float, int]] = []
        while heap[0][1] in held:
            passed.append(heapq.heappop(heap))
        load, replica = heap[0]
        heapq.heapreplace(heap, (load + weight, replica))
        held.add(replica)
        bins[replica].append(_piece(index, demands[index], share))
        for entry in passed:
            heapq.heappush(heap, entry)


def laid_end_to_end(
    demands: Sequence[AdapterDemand], replicas: int, wrapped_from: float
) -> list[tuple[int, int, float]]:
    """Hot adapters laid end to end and cut where a replica has its even share of them (McNaughton's rule).

    No way to share their rate evenly has fewer pieces. Adapters with minimum copies stay out of it.

    Returns:
        Replica, adapter and share of each piece; nothing where `wrapped_from` is infinite.
    """
    total = sum(demand.rate for demand in demands)
    hot = [
        index
        for index, demand in enumerate(demands)
        if demand.min_copies == 1 and demand.rate * replicas >= wrapped_from * total > 0.0
    ]
    hot.sort(key=lambda index: (-demands[index].rate, index))
    room = (each := sum(demands[index].rate for index in hot) / replicas)
    laid, replica = [], 0
    for index in hot:
        left = demands[index].rate
        while left > 0.0:
            part = left if left <= room + _SLIVER * each or replica == replicas - 1 else room
            laid.append((replica, index, part / demands[index].rate))
            left, room = left - part, room - part
            if room <= _SLIVER * each and replica < replicas - 1:
                replica, room = replica + 1, room + each
    return laid


def even_parts(
    demands: Sequence[AdapterDemand], replicas: int, evenness: Evenness = EVENNESS[0]
) -> NDArray[np.int64]:
    """Over how many of so many replicas each adapter's rate has to be split, shape (adapters)."""
    rates = np.array([demand.rate for demand in demands])
    fair = evenness.grain * (float(rates.sum()) or 1.0) / replicas
    return np.clip(np.ceil(rates / fair - 1e-9), 1, replicas).astype(np.int64)


def even_pieces(
    demands: Sequence[AdapterDemand], replicas: int, evenness: Evenness = EVENNESS[0]
) -> tuple[NDArray[np.int64], FloatArray]:
    """Each piece's adapter and share, both of shape (pieces), an adapter's pieces one after another."""
    wanted = even_parts(demands, replicas, evenness)
    copies = np.array([min(demand.min_copies, replicas) for demand in demands])
    parts = np.maximum(wanted, copies)
    owners = np.repeat(np.arange(len(demands)), parts)
    place = np.arange(len(owners)) - np.repeat(np.cumsum(parts) - parts, parts)
    standby = np.minimum(1.0 / parts, evenness.standby)
    main = (1.0 - (parts - wanted) * standby) / wanted
    shares: FloatArray = np.where(place < wanted[owners], main[owners], standby[owners])
    return owners, shares


def piece_weights(
    demands: Sequence[AdapterDemand],
    owners: NDArray[np.int64],
    shares: FloatArray,
    evenness: Evenness = EVENNESS[0],
) -> FloatArray:
    """What pieces weigh when loads are made even, shape (pieces)."""
    rates = np.array([demand.rate for demand in demands])[owners] * shares
    activity = 1.0 - np.exp(-rates * evenness.window_s)
    weights: FloatArray = (
        rates / (float(rates.sum()) or 1.0) + activity / (float(activity.sum()) or 1.0) + 1e-6 * shares
    )
    return weights


def _one_of_each(queue: list[Piece]) -> tuple[list[Piece], list[Piece]]:
    """The first piece of each adapter, which may share a replica, and the pieces that may not join them."""
    seen: set[int] = set()
    first: list[Piece] = []
    others: list[Piece] = []
    for piece in queue:
        (others if piece.adapter in seen else first).append(piece)
        seen.add(piece.adapter)
    return first, others


def _largest_prefix(pieces: Sequence[Piece], judge: Judge, guess: int) -> int:
    """How many of the first pieces one replica carries: a search with several probes at once."""
    rates = np.array([piece.rate for piece in pieces], dtype=np.float64)
    ranks = np.maximum.accumulate([piece.rank for piece in pieces])
    low, high = 0, len(pieces) + 1
    probes = sorted({min(max(1, round(guess * factor)), len(pieces)) for factor in _PROBES})
    while high - low > 1:
        verdicts = judge.carries([Contents(rates[:probe], int(ranks[probe - 1])) for probe in probes])
        for probe, carried in zip(probes, verdicts, strict=True):
            if not carried:
                high = probe
                break
            low = probe
        probes = _next_probes(low, high, len(pieces))
    return low


def _next_probes(low: int, high: int, most: int) -> list[int]:
    """Probes strictly between what is known to fit and what is known not to."""
    if high > most:
        return sorted({min(most, max(low + 1, round(low * factor))) for factor in (1.5, 2.0, 4.0, 8.0)})
    return sorted({low + max(1, round((high - low) * part / 6)) for part in range(1, 6)} - {high})


def _with_part_of_next(
    filled: list[Piece], rest: list[Piece], judge: Judge
) -> tuple[list[Piece], list[Piece]]:
    """Top a replica up with a part of the next adapter where that adapter is a hot one."""
    following = rest[0]
    carried = math.fsum(piece.rate for piece in filled)
    if following.rate < SMALLEST_SPLIT * (carried + following.rate):
        return filled, rest
    part = _largest_part(filled, following, judge)
    if part <= 0.0 or part * following.rate < SMALLEST_SPLIT * carried:
        return filled, rest
    part = min(part, 1.0 - _SMALLEST_PART)
    return [*filled, _cut(following, part)], [_cut(following, 1.0 - part), *rest[1:]]


def _largest_part(filled: list[Piece], piece: Piece, judge: Judge) -> float:
    """Which part of a piece the replica carries beside what fills it; 0 where none."""
    low, high = 0.0, 1.0
    for _ in range(_SHARE_BISECTIONS):
        middle = 0.5 * (low + high)
        if judge.carries([contents_of([*filled, _cut(piece, middle)])])[0]:
            low = middle
        else:
            high = middle
    return low


def _piece(index: int, demand: AdapterDemand, share: float) -> Piece:
    return Piece(index, share, demand.rate * share, demand.rank)


def _cut(piece: Piece, part: float) -> Piece:
    return Piece(piece.adapter, piece.share * part, piece.rate * part, piece.rank)
