"""Placing adapters on the fewest GPUs: bound, search, repair of the present plan, plan, explanation."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement import wording
from adapter_predictor.placement.bound import lower_bound
from adapter_predictor.placement.demand import AdapterDemand, Limits, Objectives, TokenMeans, checked
from adapter_predictor.placement.judge import Contents, Judge, Slots, smallest_rank
from adapter_predictor.placement.packing import spread
from adapter_predictor.placement.repair import repaired
from adapter_predictor.placement.result import LowerBound, Placement
from adapter_predictor.placement.search import fewest_bins
from adapter_predictor.placement.seating import Seat, plan_of, seated
from adapter_predictor.plan import Plan
from adapter_predictor.predictor import Predictor

_NOTHING_AVOIDED: Final[Mapping[str, Collection[str]]] = MappingProxyType({})
_SEARCHED_BEYOND: Final = 16
_COLDEST_RATE: Final = 1e-3


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
    bound: LowerBound

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
    deadline = Deadline.after(deadline_s)
    bound = lower_bound(ordered, judge, predictor.profile.tensor_parallel_size)
    task = _Task(ordered, judge, limits, present, avoid, engine, deadline, bound)
    if obstacle := _obstacle(task):
        return _best_effort(task, None, obstacle)
    seats = _fewest(task)
    if seats is None:
        return _best_effort(task, None, wording.not_found(cut_short=deadline.expired))
    if len(seats) > task.most:
        return _best_effort(task, len(seats), wording.beyond_limits(len(seats), limits, task.most))
    return _placement(task, _settled(task, seats), feasible=True, missing=0)


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


def _fewest(task: _Task) -> list[Seat] | None:
    """Replicas with slots, as few as can be found, but as many as the limits demand."""
    start = max(task.bound.gpus // task.gpus_each, task.limits.min_replicas)
    most = max(task.most, 2 * start) + _SEARCHED_BEYOND
    bins = fewest_bins(task.demands, task.judge, start, most, task.deadline)
    return None if bins is None else seated(bins, task.judge)


def _settled(task: _Task, seats: list[Seat]) -> list[Seat]:
    """The present plan, repaired, where that needs no more replicas; the new one otherwise."""
    if task.present is None or task.deadline.expired:
        return seats
    mended = repaired(
        task.present, task.demands, task.judge, len(seats), engine=task.engine, avoid=task.avoid
    )
    return mended or seats


def _best_effort(task: _Task, needed: int | None, why: str) -> Placement:
    """An even load on the replicas that the limits allow; on no more than help, where GPUs do not."""
    missing = 0 if needed is None else (needed - task.most) * task.gpus_each
    replicas = min(task.most, max(task.bound.gpus // task.gpus_each, task.limits.min_replicas))
    if needed is not None:
        replicas = task.most
    seats = seated(spread(task.demands, replicas), task.judge) if replicas else None
    if seats is None:
        return Placement(None, False, missing, {}, (why,), task.bound)
    return _placement(task, seats, feasible=False, missing=missing, why=why)


def _placement(
    task: _Task, seats: Sequence[Seat], *, feasible: bool, missing: int, why: str = ""
) -> Placement:
    plan = plan_of(seats, task.demands, task.present, task.engine)
    replicas = list(_replicas(plan, task.demands))
    predictions = dict(zip(plan.assignment, task.judge.forecast(replicas), strict=True))
    found = plan.gpus(task.gpus_each)
    bound = replace(task.bound, gpus=min(task.bound.gpus, found)) if feasible else task.bound
    told = wording.explanation(task.judge, plan, replicas, task.present)
    return Placement(plan, feasible, missing, predictions, (why, *told) if why else told, bound)


def _replicas(plan: Plan, demands: Sequence[AdapterDemand]) -> Iterator[tuple[Contents, Slots]]:
    """What each replica of the plan holds, and its slots, in the order of its assignment."""
    by_name = {demand.name: demand for demand in demands}
    for pool in plan.pools:
        slots = Slots(pool.max_loras, pool.max_lora_rank)
        for name in pool.replica_names():
            shares = plan.assignment[name].items()
            rates = np.array([by_name[adapter].rate * share for adapter, share in shares])
            yield Contents(rates, slots.max_lora_rank), slots
