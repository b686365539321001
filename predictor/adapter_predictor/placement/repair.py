"""Changing the present plan as little as its replicas' feasibility allows."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Judge, Slots
from adapter_predictor.placement.packing import (
    Bin,
    Piece,
    by_rate,
    contents_of,
    even_pieces,
    piece_weights,
)
from adapter_predictor.placement.seating import Seat
from adapter_predictor.plan import Plan, pool_name, replica_name

_MOST_PLACED_SINGLY: Final = 200
_SMALLEST_HALF: Final = 0.13
_SLACKS: Final = (0.3, 0.15, 0.07, 0.03, 0.01)
"""How much heavier than the mean a replica may stay, which moves little, before it is made lighter."""

Avoided = Mapping[int, Collection[int]]
"""For an adapter, by index, the replicas, by index, that must not get it."""


def repaired(
    present: Plan,
    demands: Sequence[AdapterDemand],
    judge: Judge,
    replicas: int,
    *,
    engine: str,
    avoid: Mapping[str, Collection[str]],
    deadline: Deadline,
) -> list[Seat] | None:
    """The present plan on a given number of its replicas, with only those pieces moved that must be.

    Returns:
        The replicas, or None where the present plan cannot be repaired within so many: an engine
        configuration that is not ours any more, a piece that finds no place, or too many to place one by one.
    """
    kept = _kept(present, judge, replicas, engine)
    if not kept:
        return None
    names, slots = list(kept), list(kept.values())
    bins, loose = _kept_pieces(present, demands, kept, avoid)
    for index, pieces in enumerate(bins):
        bins[index], shed = _relieved(pieces, slots[index], judge)
        loose += shed
    avoided = {
        index: {names.index(name) for name in avoid.get(demand.name, ()) if name in names}
        for index, demand in enumerate(demands)
    }
    if len(loose) > _MOST_PLACED_SINGLY or deadline.expired:
        return None
    if not _placed(by_rate(loose), bins, slots, judge, avoided):
        return None
    return [Seat(pieces, chosen) for pieces, chosen in zip(bins, slots, strict=True)]


def _kept(present: Plan, judge: Judge, replicas: int, engine: str) -> dict[str, Slots] | None:
    """The replicas that stay or come: highest ordinals go first, and the largest pool changes its size."""
    for pool in present.pools:
        ours = pool.name == pool_name(pool.max_loras, pool.max_lora_rank, engine)
        usable = Slots(pool.max_loras, pool.max_lora_rank) in judge.grid(pool.max_lora_rank)
        if not (ours and usable):
            return None
    sizes = {pool.name: pool.replicas for pool in present.pools}
    while sizes and sum(sizes.values()) != replicas:
        largest = max(sorted(sizes), key=lambda name: sizes[name])
        sizes[largest] += 1 if sum(sizes.values()) < replicas else -1
    return {
        replica_name(pool.name, ordinal): Slots(pool.max_loras, pool.max_lora_rank)
        for pool in present.pools
        for ordinal in range(sizes[pool.name])
    }


def _kept_pieces(
    present: Plan,
    demands: Sequence[AdapterDemand],
    replicas: Mapping[str, Slots],
    avoid: Mapping[str, Collection[str]],
) -> tuple[list[Bin], list[Piece]]:
    """What the replicas go on serving, and the pieces that have no replica."""
    bins: dict[str, Bin] = {name: [] for name in replicas}
    loose: list[Piece] = []
    for index, demand in enumerate(demands):
        held = present.shares.get(demand.name, {})
        unwanted = avoid.get(demand.name, ())
        kept = {
            name: share
            for name, share in held.items()
            if name in replicas and name not in unwanted and replicas[name].max_lora_rank >= demand.rank
        }
        copies = max(len(held), demand.min_copies)
        if copies > len(held):
            kept = dict.fromkeys(kept, 1.0 / copies)
        for name, share in kept.items():
            bins[name].append(_piece(index, demand, share))
        if missing := copies - len(kept):
            loose += [_piece(index, demand, (1.0 - sum(kept.values())) / missing)] * missing
    return list(bins.values()), loose


def _piece(index: int, demand: AdapterDemand, share: float) -> Piece:
    return Piece(index, share, demand.rate * share, demand.rank)


def _relieved(pieces: Bin, slots: Slots, judge: Judge) -> tuple[Bin, Bin]:
    """A replica's pieces that it can carry, and as few others as possible: the hottest go."""
    ordered = by_rate(pieces)
    low, high = -1, len(ordered)
    if not ordered or judge.feasible([(contents_of(ordered), slots)])[0]:
        return pieces, []
    while high - low > 1:
        middle = (low + high) // 2
        if judge.feasible([(contents_of(ordered[middle:]), slots)])[0]:
            high = middle
        else:
            low = middle
    return ordered[high:], ordered[:high]


def _placed(
    loose: Sequence[Piece], bins: list[Bin], slots: Sequence[Slots], judge: Judge, avoided: Avoided
) -> bool:
    """Put each piece on the replica that then serves most, halved where none takes it whole.

    False where one finds no place even so.
    """
    waiting = list(reversed(loose))
    least = {piece.adapter: piece.share * _SMALLEST_HALF for piece in loose}
    while waiting:
        piece = waiting.pop()
        place = _best_place(piece, bins, slots, judge, avoided)
        if place is not None:
            bins[place].append(piece)
        elif piece.share <= least[piece.adapter] or piece.rate <= 0.0:
            return False
        else:
            half = Piece(piece.adapter, 0.5 * piece.share, 0.5 * piece.rate, piece.rank)
            waiting += [half, half]
    return True


def _best_place(
    piece: Piece, bins: Sequence[Bin], slots: Sequence[Slots], judge: Judge, avoided: Avoided
) -> int | None:
    """The replica that serves most with the piece on it; None where none carries it."""
    candidates = [
        index
        for index, held in enumerate(bins)
        if piece.rank <= slots[index].max_lora_rank
        and index not in avoided.get(piece.adapter, ())
        and all(other.adapter != piece.adapter for other in held)
    ]
    asked = [(contents_of([*bins[index], piece]), slots[index]) for index in candidates]
    feasible, served = judge.feasible(asked), judge.served(asked)
    open_to_it = [i for i in range(len(candidates)) if feasible[i]]
    if not open_to_it:
        return None
    load = {i: float(asked[i][0].rates.sum()) for i in open_to_it}
    return candidates[max(open_to_it, key=lambda i: (round(float(served[i]), 3), -load[i]))]


def rebalanced(
    present: Plan,
    demands: Sequence[AdapterDemand],
    judge: Judge,
    replicas: int,
    *,
    engine: str,
    avoid: Mapping[str, Collection[str]],
    deadline: Deadline,
    at_any_load: bool = False,
) -> list[Seat] | None:
    """Even loads on a given number of the present plan's replicas, from which as few adapters move as can be.

    Every adapter stays where it is unless its replica is too heavy; what must move goes where it is lightest.
    Where `at_any_load`, loads that are too high for any plan are at least made even.

    Returns:
        The replicas, or None where the present plan's slots do not carry the loads.
    """
    kept = _kept(present, judge, replicas, engine)
    if not kept:
        return None
    owners, shares = even_pieces(demands, replicas)
    parts = np.bincount(owners, minlength=len(demands)).tolist()
    weights = piece_weights(demands, owners, shares)[np.cumsum(parts) - 1].tolist()
    homes = _homes(present, demands, kept, parts, avoid)
    seats: list[Seat] = []
    for slack in _SLACKS:
        if deadline.expired:
            return None
        bins = _levelled(demands, kept, homes, parts, weights, slack, avoid)
        seats = [Seat(pieces, slots) for pieces, slots in zip(bins or (), kept.values(), strict=False)]
        if seats and judge.feasible([(seat.contents, seat.slots) for seat in seats]).all():
            return seats
    return seats if at_any_load else None


def _homes(
    present: Plan,
    demands: Sequence[AdapterDemand],
    replicas: Mapping[str, Slots],
    parts: Sequence[int],
    avoid: Mapping[str, Collection[str]],
) -> list[list[int]]:
    """For each adapter the replicas, by index, that hold it and may go on, as many as it has parts."""
    places = {name: index for index, name in enumerate(replicas)}
    return [
        [
            places[name]
            for name in present.shares.get(demand.name, {})
            if name in places
            and name not in avoid.get(demand.name, ())
            and replicas[name].max_lora_rank >= demand.rank
        ][:count]
        for demand, count in zip(demands, parts, strict=True)
    ]


def _levelled(
    demands: Sequence[AdapterDemand],
    replicas: Mapping[str, Slots],
    homes: Sequence[Sequence[int]],
    parts: Sequence[int],
    weights: Sequence[float],
    slack: float,
    avoid: Mapping[str, Collection[str]],
) -> list[Bin] | None:
    """Replicas of like weight: heavy ones give their heaviest pieces away, the lightest take them."""
    held = _relieved_homes(homes, weights, len(replicas), _limit(parts, weights, len(replicas), slack))
    loads = np.zeros(len(replicas))
    for index, own in enumerate(held):
        loads[list(own)] += weights[index]
    heap = [(float(load), place) for place, load in enumerate(loads)]
    heapq.heapify(heap)
    names, slots = list(replicas), list(replicas.values())
    wanting = [index for index, own in enumerate(held) if len(own) < parts[index]]
    for index in sorted(wanting, key=lambda one: (-weights[one], one)):
        unwanted = avoid.get(demands[index].name, ())
        refused: list[tuple[float, int]] = []
        while len(held[index]) < parts[index] and heap:
            load, place = heapq.heappop(heap)
            fits = slots[place].max_lora_rank >= demands[index].rank and names[place] not in unwanted
            if fits and place not in held[index]:
                held[index].add(place)
                load += weights[index]
            refused.append((load, place))
        for entry in refused:
            heapq.heappush(heap, entry)
        if len(held[index]) < max(1, demands[index].min_copies):
            return None
    return _bins(demands, held, len(replicas))


def _limit(parts: Sequence[int], weights: Sequence[float], replicas: int, slack: float) -> float:
    """The weight that a replica may keep."""
    total = sum(weight * count for weight, count in zip(weights, parts, strict=True))
    return (1.0 + slack) * total / replicas


def _relieved_homes(
    homes: Sequence[Sequence[int]], weights: Sequence[float], replicas: int, limit: float
) -> list[set[int]]:
    """The homes that adapters keep, where no replica keeps more than the limit: the heaviest leave first."""
    tenants: list[list[int]] = [[] for _ in range(replicas)]
    for index, own in enumerate(homes):
        for place in own:
            tenants[place].append(index)
    held = [set(own) for own in homes]
    for place, own in enumerate(tenants):
        load = sum(weights[index] for index in own)
        for index in sorted(own, key=lambda one: (-weights[one], one)):
            if load <= limit:
                break
            if weights[index] <= load - limit or weights[index] <= 0.5 * limit:
                held[index].discard(place)
                load -= weights[index]
    return held


def _bins(demands: Sequence[AdapterDemand], held: Sequence[Collection[int]], replicas: int) -> list[Bin]:
    bins: list[Bin] = [[] for _ in range(replicas)]
    for index, places in enumerate(held):
        for place in sorted(places):
            bins[place].append(_piece(index, demands[index], 1.0 / len(places)))
    return bins
