"""Changing the present plan as little as its replicas' feasibility allows."""

from collections.abc import Collection, Mapping, Sequence

from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Judge, Slots
from adapter_predictor.placement.packing import Bin, Piece, by_rate, contents_of
from adapter_predictor.placement.seating import Seat
from adapter_predictor.plan import Plan, pool_name, replica_name

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
) -> list[Seat] | None:
    """The present plan on a given number of its replicas, with only those pieces moved that must be.

    Returns:
        The replicas, or None where the present plan cannot be repaired within so many: an engine
        configuration that is not ours any more, or a piece that finds no place.
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
    """Put each piece on the replica that then serves most; False where one finds no place."""
    for piece in loose:
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
            return False
        load = {i: float(asked[i][0].rates.sum()) for i in open_to_it}
        best = max(open_to_it, key=lambda i: (round(float(served[i]), 3), -load[i]))
        bins[candidates[best]].append(piece)
    return True
