"""Placing adapters on the fewest GPUs: bound, search, repair of the present plan, plan, explanation."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from adapter_predictor.deadline import Clock, Deadline
from adapter_predictor.placement import wording
from adapter_predictor.placement.bound import lower_bound
from adapter_predictor.placement.contents import replicas_of
from adapter_predictor.placement.demand import AdapterDemand, Limits, Objectives, TokenMeans, checked
from adapter_predictor.placement.judge import Contents, Judge, smallest_rank
from adapter_predictor.placement.packing import Bin, spread
from adapter_predictor.placement.repair import rebalanced, repaired
from adapter_predictor.placement.result import LowerBound, Placement
from adapter_predictor.placement.search import even, fewer_bins, fewest_even
from adapter_predictor.placement.seating import Seat, plan_of, seated
from adapter_predictor.plan import Plan
from adapter_predictor.predictor import Predictor

_NOTHING_AVOIDED: Final[Mapping[str, Collection[str]]] = MappingProxyType({})
_SEARCHED_BEYOND: Final = 16
_COLDEST_RATE: Final = 1e-3
_BOUND_PART: Final = 0.3
_MANY: Final = 10**9
_HEADROOM_GIVEN_UP: Final = (0.5, 1.0)


@dataclass(frozen=True)
class _Task:
    """One placement: what is asked, and who judges."""

    demands: Sequence[AdapterDemand]
    judge: Judge
    limits: Limits
    present: Plan | None
    avoid: Mapping[str, Collection[str]]
    engine: str
    deadline: Deadline

    @property
    def copies(self) -> int:
        """Replicas that minimum copies alone ask for."""
        return max(demand.min_copies for demand in self.demands)

    @property
    def gpus_each(self) -> int:
        return self.judge.predictor.profile.tensor_parallel_size

    @property
    def most(self) -> int:
        """Replicas that the limits allow."""
        return self.limits.replicas(self.gpus_each)


def place(
    demands: Iterable[AdapterDemand],
    predictor: Predictor,
    objectives: Objectives,
    limits: Limits,
    *,
    tokens: TokenMeans | None = None,
    present: Plan | None = None,
    avoid: Mapping[str, Collection[str]] = _NOTHING_AVOIDED,
    extra_headroom: float = 0.0,
    excluded_slots: Collection[tuple[int, int]] = frozenset(),
    engine: str = "",
    deadline_s: float | None = None,
    clock: Clock = time.monotonic,
) -> Placement:
    """The plan with the fewest GPUs whose every replica is predicted to meet the objectives.

    Deterministic, unless a deadline cuts the search short.

    Args:
        demands: The adapters.
        predictor: Says what replicas will do.
        objectives: What every replica must reach, with the headroom.
        limits: How many replicas and GPUs there may be.
        tokens: Mean tokens of a request; the profile's where None.
        present: The plan in force, from which as little as possible moves.
        avoid: For an adapter, by name, replicas of the present plan that it should not stay on or move to.
        extra_headroom: Headroom beyond the objectives', for a plan that was found too tight.
        excluded_slots: Pairs (`max_loras`, `max_lora_rank`) not to be used.
        engine: A fingerprint of the rest of the engine's configuration, which pools are named by.
        deadline_s: Seconds after which the best plan so far is returned.
        clock: Measures them.
    """
    ordered = checked(demands)
    lengths = predictor.profile.workload_defaults
    judge = Judge(
        predictor,
        objectives,
        tokens or TokenMeans(lengths.prompt.mean, lengths.output.mean),
        extra_headroom=extra_headroom,
        excluded=excluded_slots,
    )
    task = _Task(ordered, judge, limits, present, avoid, engine, Deadline.after(deadline_s, clock))
    if obstacle := _obstacle(task):
        return _best_effort(task, _bound(task, task.copies), None, obstacle)
    bins, bound = _fewest(task)
    seats = seated(bins, judge) if bins else None
    if seats is None:
        return _best_effort(task, bound, None, wording.not_found(cut_short=task.deadline.expired))
    if len(seats) > task.most:
        return _best_effort(task, bound, len(seats), wording.beyond_limits(len(seats), limits, task.most))
    return _placement(task, _settled(task, seats), bound, feasible=True, missing=0)


def _obstacle(task: _Task) -> str:
    """Why no number of replicas would do; empty where nothing stands in the way."""
    for rank in sorted({smallest_rank(demand.rank) for demand in task.demands}, reverse=True):
        grid = task.judge.grid(rank)
        if not grid:
            reason = task.judge.predictor.memory(8, rank).reason
            return wording.no_slots(rank, reason)
        if not task.judge.carries([Contents(np.array([_COLDEST_RATE]), rank)])[0]:
            return wording.unreachable(task.judge, rank)
    return ""


def _fewest(task: _Task) -> tuple[list[Bin] | None, LowerBound]:
    """As few replicas as can be found, but as many as the limits demand; and the bound."""
    least = max(task.copies, task.limits.min_replicas)
    if task.most >= least and (bins := even(task.demands, task.judge, least)):
        return bins, _bound(task, least)
    bound = _bound(task)
    start = max(bound.gpus // task.gpus_each, least)
    most = max(task.most, 2 * start) + _SEARCHED_BEYOND
    found = fewest_even(task.demands, task.judge, start, most, task.deadline)
    if found is None or len(found) > start:
        found = fewer_bins(task.demands, task.judge, start, most, found, task.deadline)
    return found, bound


def _bound(task: _Task, enough: int = _MANY) -> LowerBound:
    """The lower bound, for which there is a part of the time that is left."""
    deadline = replace(task.deadline, ends_at=task.deadline.clock() + _BOUND_PART * task.deadline.remaining_s)
    return lower_bound(task.demands, task.judge, task.gpus_each, enough=enough, deadline=deadline)


def _settled(task: _Task, seats: list[Seat]) -> list[Seat]:
    """The present plan, repaired or rebalanced, where that needs no more replicas; the new one otherwise."""
    if task.present is None:
        return seats
    asked = (task.present, task.demands, task.judge, len(seats))
    for mend in (repaired, rebalanced):
        if not task.deadline.expired and (
            mended := mend(*asked, engine=task.engine, avoid=task.avoid, deadline=task.deadline)
        ):
            return mended
    return seats


def _best_effort(task: _Task, bound: LowerBound, needed: int | None, why: str) -> Placement:
    """What the replicas that the limits allow serve best; on no more than help, where GPUs do not."""
    missing = 0 if needed is None else (needed - task.most) * task.gpus_each
    replicas = min(task.most, max(bound.gpus // task.gpus_each, task.limits.min_replicas))
    if needed is not None:
        replicas = task.most
    seats = _with_less_headroom(task) if needed is not None else None
    if seats is None and replicas:
        seats = _level(task, replicas)
    if seats is None:
        return Placement(None, False, missing, {}, (why,), bound)
    return _placement(task, seats, bound, feasible=False, missing=missing, why=why)


def _with_less_headroom(task: _Task) -> list[Seat] | None:
    """Replicas, as many as allowed, that would do if less headroom were asked for; None where none would."""
    for part in _HEADROOM_GIVEN_UP:
        lax = replace(task, judge=task.judge.stricter(-part * task.judge.headroom))
        if not task.most or task.deadline.expired:
            return None
        bins = fewer_bins(task.demands, lax.judge, task.most, task.most, None, task.deadline)
        if bins and (seats := seated(bins, lax.judge)):
            return _settled(lax, seats)
    return None


def _level(task: _Task, replicas: int) -> list[Seat] | None:
    """So many replicas with even loads, however high; those of the present plan where there is one."""
    kept = None
    if task.present is not None:
        kept = rebalanced(
            task.present,
            task.demands,
            task.judge,
            replicas,
            engine=task.engine,
            avoid=task.avoid,
            deadline=task.deadline,
            at_any_load=True,
        )
    return kept or seated(spread(task.demands, replicas), task.judge)


def _placement(
    task: _Task, seats: Sequence[Seat], bound: LowerBound, *, feasible: bool, missing: int, why: str = ""
) -> Placement:
    plan = plan_of(seats, task.demands, task.present, task.engine)
    replicas = list(replicas_of(plan, task.demands))
    predictions = dict(zip(plan.assignment, task.judge.forecast(replicas), strict=True))
    found = plan.gpus(task.gpus_each)
    bound = replace(bound, gpus=min(bound.gpus, found)) if feasible else bound
    told = wording.explanation(task.judge, plan, replicas, task.present)
    return Placement(plan, feasible, missing, predictions, (why, *told) if why else told, bound)
