"""What to ask of the placement after the twin has rejected its plan. Pure, and bounded by its caller."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import ReplicaFigures, Verdict
from adapter_operator.planning.wording import plural
from adapter_predictor.placement import Limits
from adapter_predictor.plan import Plan

Kind = Literal["", "headroom", "slots", "replica", "fewer"]

LADDER: tuple[Kind, ...] = ("headroom", "slots", "replica")
"""Repairs in order of what they cost: the first two need no GPU."""

SMALLEST_HEADROOM_STEP = 0.03
"""A smaller change of the load would hardly change the plan."""

LARGEST_HEADROOM_STEP = 0.5
"""A failing replica that serves almost nothing says little about how much load it could carry."""

HOPELESS_SHORTFALL = 0.15
"""Replicas that miss an objective by more than this are not mended without another replica."""


@dataclass(frozen=True)
class Adjustment:
    """What is asked of the placement beyond the request.

    Attributes:
        kind: Which repair this is; empty for the first plan.
        because: Why it was made, in words.
        extra_headroom: Headroom beyond the objectives': less load on every replica.
        excluded_slots: Pairs of slots and rank that the plan must not use.
        min_replicas: Replicas, at least.
        max_replicas: Replicas, at most; the request's limit where None.
    """

    kind: Kind = ""
    because: str = ""
    extra_headroom: float = 0.0
    excluded_slots: frozenset[tuple[int, int]] = frozenset()
    min_replicas: int = 1
    max_replicas: int | None = None

    def limits(self, limits: Limits) -> Limits:
        """The request's limits, narrowed by this adjustment."""
        most = limits.max_replicas if self.max_replicas is None else self.max_replicas
        fewest = min(max(limits.min_replicas, self.min_replicas), most)
        return replace(limits, min_replicas=fewest, max_replicas=most)


def repairs(
    request: PlanningRequest, plan: Plan, verdict: Verdict, adjustment: Adjustment
) -> Iterator[Adjustment]:
    """Adjustments worth trying after `verdict` on the plan made with `adjustment`, most promising first."""
    if verdict.reason == "OutOfMemory":
        yield _other_slots(plan, verdict, adjustment)
        return
    if hopeless(verdict) and plan.replicas >= allowed_replicas(request):
        return
    for kind in _order(verdict, adjustment.kind):
        if kind == "headroom":
            yield _more_headroom(request, verdict, adjustment)
        elif kind == "slots":
            yield _other_slots(plan, verdict, adjustment)
        elif plan.replicas < allowed_replicas(request):
            yield _one_more_replica(plan, adjustment)


def allowed_replicas(request: PlanningRequest) -> int:
    """The most replicas that the limits allow."""
    return request.limits.replicas(request.profile.tensor_parallel_size)


def failing_replicas(verdict: Verdict) -> Sequence[ReplicaFigures]:
    """Replicas that the verdict blames; all of them where it blames none in particular."""
    return [figures for figures in verdict.replicas if figures.name in verdict.failing] or verdict.replicas


def hopeless(verdict: Verdict) -> bool:
    """Whether too much is missing (copies of an adapter, say) for anything but another replica."""
    return verdict.margin is None or verdict.margin < -HOPELESS_SHORTFALL


def _order(verdict: Verdict, last: Kind) -> tuple[Kind, ...]:
    """The ladder from the rung after the last; straight to another replica where far too little is served."""
    if hopeless(verdict) and last != "replica":
        return ("replica", "headroom", "slots")
    start = LADDER.index(last) + 1 if last in LADDER else 0
    return (*LADDER[start:], *LADDER[:start])


def _more_headroom(request: PlanningRequest, verdict: Verdict, adjustment: Adjustment) -> Adjustment:
    shortfall = -(verdict.margin or 0.0)
    step = min(max(SMALLEST_HEADROOM_STEP, shortfall / (1.0 - min(shortfall, 0.9))), LARGEST_HEADROOM_STEP)
    step *= request.demand_factor
    extra = round(adjustment.extra_headroom + step, 4)
    return replace(
        adjustment,
        kind="headroom",
        extra_headroom=extra,
        because=f"{verdict.reason}: every replica gets less load ({extra:.0%} more headroom)",
    )


def _other_slots(plan: Plan, verdict: Verdict, adjustment: Adjustment) -> Adjustment:
    failed = {(f.max_loras, f.max_lora_rank) for f in failing_replicas(verdict)}
    failed = failed or {(pool.max_loras, pool.max_lora_rank) for pool in plan.pools}
    named = ", ".join(f"{slots} slots of rank {rank}" for slots, rank in sorted(failed))
    return replace(
        adjustment,
        kind="slots",
        excluded_slots=adjustment.excluded_slots | failed,
        because=f"{verdict.reason}: other slots than {named}",
    )


def _one_more_replica(plan: Plan, adjustment: Adjustment) -> Adjustment:
    wanted = plan.replicas + 1
    return replace(
        adjustment,
        kind="replica",
        min_replicas=wanted,
        excluded_slots=frozenset(),
        because=f"{plural(plan.replicas, 'replica')} cannot serve this: at least {wanted}",
    )
