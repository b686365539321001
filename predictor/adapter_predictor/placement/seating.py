"""From packed replicas to a plan: few pools, and the names under which the fewest adapters move."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Contents, Judge, Option, Slots
from adapter_predictor.placement.packing import Bin, contents_of
from adapter_predictor.plan import Plan, Pool, pool_name, replica_name

_NOISE: Final = 1e-9
"""What the shares of an adapter may lie beside 1 by rounding."""


@dataclass(frozen=True)
class Seat:
    """A replica that is to be: what it serves, and with which slots."""

    pieces: Bin
    slots: Slots

    @property
    def contents(self) -> Contents:
        """What the judge asks about."""
        return contents_of(self.pieces)


def seated(bins: Sequence[Bin], judge: Judge) -> list[Seat] | None:
    """Slots for each replica, of as few kinds as meet the objectives; None where none fits in memory."""
    options = judge.options([contents_of(pieces) for pieces in bins])
    chosen: list[Slots | None] = [None] * len(bins)
    waiting = [index for index, pieces in enumerate(bins) if pieces]
    while waiting:
        acceptable = {index: _acceptable(options[index]) for index in waiting}
        if not all(acceptable.values()):
            return None
        slots = _most_wanted(acceptable)
        for index in waiting:
            if slots in acceptable[index]:
                chosen[index] = slots
        waiting = [index for index in waiting if chosen[index] is None]
    common = _commonest(chosen)
    if common is None:
        return None
    return [Seat(pieces, slots or common) for pieces, slots in zip(bins, chosen, strict=True)]


def plan_of(
    seats: Sequence[Seat], demands: Sequence[AdapterDemand], present: Plan | None, engine: str
) -> Plan:
    """The plan with these replicas, numbered so that the fewest adapters move from the present plan."""
    pools: list[Pool] = []
    assignment: dict[str, dict[str, float]] = {}
    for slots in sorted({seat.slots for seat in seats}):
        members = [seat for seat in seats if seat.slots == slots]
        name = pool_name(slots.max_loras, slots.max_lora_rank, engine)
        pools.append(Pool(name=name, replicas=len(members), **slots._asdict()))
        shares = [_named_shares(seat, demands) for seat in members]
        for ordinal, index in enumerate(_ordinals(shares, name, present)):
            assignment[replica_name(name, ordinal)] = shares[index]
    return Plan.build(tuple(pools), _summing_to_one(assignment))


def moved_adapters(present: Plan, plan: Plan) -> int:
    """Adapters of the present plan that some replica would have to load anew."""
    return sum(
        1
        for adapter, replicas in plan.shares.items()
        if adapter in present.shares and not replicas.keys() <= present.shares[adapter].keys()
    )


def _acceptable(options: Sequence[Option]) -> dict[Slots, Option]:
    """The options that meet the objectives; where none does, the best there is."""
    good = {option.slots: option for option in options if option.feasible}
    if good or not options:
        return good
    best = max(options, key=Option.quality)
    return {best.slots: best}


def _most_wanted(acceptable: Mapping[int, Mapping[Slots, Option]]) -> Slots:
    """The slots that the most replicas accept; among these, those for which fewest adapters wait."""
    candidates = sorted({slots for options in acceptable.values() for slots in options})

    def appeal(slots: Slots) -> tuple[int, float, float, float, int]:
        offers = [options[slots] for options in acceptable.values() if slots in options]
        coverage, served, itl = np.mean([(o.coverage, o.served_fraction, o.itl_s) for o in offers], axis=0)
        return len(offers), round(coverage, 1), round(served, 3), -itl, -slots.max_loras

    return max(candidates, key=appeal)


def _commonest(chosen: Sequence[Slots | None]) -> Slots | None:
    found = [slots for slots in chosen if slots is not None]
    return max(sorted(set(found)), key=found.count, default=None)


def _named_shares(seat: Seat, demands: Sequence[AdapterDemand]) -> dict[str, float]:
    return {demands[piece.adapter].name: piece.share for piece in seat.pieces}


def _ordinals(shares: Sequence[Mapping[str, float]], pool: str, present: Plan | None) -> list[int]:
    """Which of the replicas gets which ordinal: the one that keeps most of what that ordinal serves."""
    if present is None:
        return list(range(len(shares)))
    held = [present.assignment.get(replica_name(pool, ordinal), {}) for ordinal in range(len(shares))]
    kept = np.array([[len(before.keys() & after.keys()) for after in shares] for before in held])
    return [int(index) for index in linear_sum_assignment(kept, maximize=True)[1]]


def _summing_to_one(assignment: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The same shares, with what floating point lost put back where it is more than noise.

    Noise is left alone, so that a plan which nothing changes keeps its shares to the last bit, and its hash.
    """
    totals: dict[str, float] = {}
    for shares in assignment.values():
        for adapter, share in shares.items():
            totals[adapter] = totals.get(adapter, 0.0) + share
    lost = {adapter: total if abs(total - 1.0) > _NOISE else 1.0 for adapter, total in totals.items()}
    return {
        replica: {adapter: min(1.0, share / lost[adapter]) for adapter, share in shares.items()}
        for replica, shares in assignment.items()
    }
