"""What a change of the adapters would cost: the plan before, the plan after, and what lies between. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from adapter_operator.planning.decision import Decision
from adapter_operator.planning.errors import PlanningError
from adapter_operator.planning.request import PlanningRequest
from adapter_predictor.placement import AdapterDemand, Placement, place, plan_headroom
from adapter_predictor.placement.seating import moved_adapters
from adapter_predictor.plan import Plan, Pool
from adapter_predictor.predictor import Predictor


@dataclass(frozen=True)
class Change:
    """What is changed, in this order: adapters go, rates are scaled, adapters come.

    Attributes:
        remove: Names, or patterns with `*` and `?`, of adapters that go.
        scale_rates: By what the rates of those that stay are multiplied.
        add: How many adapters come.
        rate: Their requests/s, each.
        rank: Their rank; the commonest there is where None.
        copies: Their minimum copies.
    """

    remove: tuple[str, ...] = ()
    scale_rates: float = 1.0
    add: int = 0
    rate: float = 0.0
    rank: int | None = None
    copies: int = 1

    @property
    def changes(self) -> bool:
        """Whether anything would be another way."""
        return bool(self.remove or self.add or self.scale_rates != 1.0)


@dataclass(frozen=True)
class Answer:
    """What the change would cost.

    Attributes:
        adapters_before: How many there are.
        adapters_after: How many there would be.
        rate_before: Requests/s of all of them.
        rate_after: Requests/s of all of them.
        before: The plan before; None where there is none.
        after: The plan after; the best effort where it does not fit, None where there is none.
        fits: Whether the predictor finds a plan within the limits that meets the objectives.
        missing_gpus: GPUs that are needed beyond the limits.
        gpus_each: GPUs of a replica.
        moves: Adapters of the plan before that some replica would have to load anew.
        headroom_before: By which part rates may grow with the plan before; None where they are too high.
        headroom_after: By which part they may grow after the change.
        why: The placement's reasons, one sentence each.
    """

    adapters_before: int
    adapters_after: int
    rate_before: float
    rate_after: float
    before: Plan | None
    after: Plan | None
    fits: bool
    missing_gpus: int
    gpus_each: int
    moves: int
    headroom_before: float | None
    headroom_after: float | None
    why: tuple[str, ...]

    @property
    def gpus_before(self) -> int:
        """GPUs of the plan before; 0 where there is none."""
        return self.before.gpus(self.gpus_each) if self.before else 0

    @property
    def gpus_after(self) -> int:
        """GPUs of the plan after, those that are missing included."""
        return (self.after.gpus(self.gpus_each) if self.after else 0) + self.missing_gpus

    @property
    def new_pools(self) -> tuple[Pool, ...]:
        """Pools with slots that no replica has before: their replicas would have to start."""
        known = {pool.name for pool in self.before.pools} if self.before else set()
        return tuple(pool for pool in self.after.pools if pool.name not in known) if self.after else ()


def changed(request: PlanningRequest, change: Change) -> PlanningRequest:
    """The request after the change.

    Raises:
        PlanningError: the change names adapters that are not there, or leaves none.
    """
    _check(request, change)
    stay = [a for a in request.adapters if not any(fnmatchcase(a.name, one) for one in change.remove)]
    scaled = [replace(adapter, rate=adapter.rate * change.scale_rates) for adapter in stay]
    adapters = (*scaled, *_added(request, change))
    if not adapters:
        raise PlanningError("--remove: nothing is left; at least one adapter is needed")
    return replace(request, adapters=adapters)


def what_if(request: PlanningRequest, change: Change, predictor: Predictor) -> Answer:
    """The plan before (the present one, if the request has any) and the one after, both predicted."""
    asked = changed(request, change)
    before = request.present or _placed(request, None, predictor).plan
    found = _placed(asked, before, predictor)
    return Answer(
        adapters_before=len(request.adapters),
        adapters_after=len(asked.adapters),
        rate_before=request.total_rate,
        rate_after=asked.total_rate,
        before=before,
        after=found.plan,
        fits=found.feasible,
        missing_gpus=found.missing_gpus,
        gpus_each=request.profile.tensor_parallel_size,
        moves=moved_adapters(before, found.plan) if before and found.plan else 0,
        headroom_before=_headroom(before, request, predictor),
        headroom_after=_headroom(found.plan, asked, predictor),
        why=found.explanation,
    )


def settled(answer: Answer, asked: PlanningRequest, decision: Decision, predictor: Predictor) -> Answer:
    """The answer with the plan that the twin has judged in the place of the predictor's.

    Args:
        answer: The predictor's.
        asked: The request after the change.
        decision: What came of it.
        predictor: Says how far rates may grow.
    """
    plan = decision.plan
    return replace(
        answer,
        after=plan,
        fits=decision.applicable,
        missing_gpus=decision.verdict.missing_gpus,
        moves=moved_adapters(answer.before, plan) if answer.before and plan else 0,
        headroom_after=_headroom(plan, asked, predictor),
        why=decision.explanation,
    )


def _check(request: PlanningRequest, change: Change) -> None:
    for pattern in change.remove:
        if not any(fnmatchcase(adapter.name, pattern) for adapter in request.adapters):
            raise PlanningError(f"--remove: no adapter is called {pattern}")
    if change.add < 0:
        raise PlanningError(f"--add: {change.add} is not 0 or more")
    if not 0.0 < change.scale_rates <= 1000.0:
        raise PlanningError(f"--scale-rates: {change.scale_rates:g} is not above 0 and at most 1000")


def _added(request: PlanningRequest, change: Change) -> Sequence[AdapterDemand]:
    """The adapters that come, under names that are free."""
    taken = {adapter.name for adapter in request.adapters}
    ranks = [adapter.rank for adapter in request.adapters]
    rank = max(sorted(set(ranks)), key=ranks.count) if change.rank is None else change.rank
    names = (f"added-{number:04d}" for number in range(1, change.add + len(taken) + 1))
    free = [name for name in names if name not in taken][: change.add]
    return [AdapterDemand(name, change.rate, rank, change.copies) for name in free]


def _placed(request: PlanningRequest, present: Plan | None, predictor: Predictor) -> Placement:
    return place(
        request.adapters,
        predictor,
        request.objectives,
        request.limits,
        tokens=request.tokens,
        present=present,
        engine=request.engine,
        deadline_s=request.verification.timeout_s,
    )


def _headroom(plan: Plan | None, request: PlanningRequest, predictor: Predictor) -> float | None:
    """The plan's headroom; None where there is no plan, or it serves other adapters than are asked for."""
    if plan is None or plan.shares.keys() != {adapter.name for adapter in request.adapters}:
        return None
    return plan_headroom(plan, request.adapters, predictor, request.objectives, tokens=request.tokens)
