"""GPUs against headroom: how much more traffic a plan carries, and what more or fewer GPUs would carry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from adapter_predictor.deadline import Deadline
from adapter_predictor.placement.contents import replicas_of
from adapter_predictor.placement.demand import AdapterDemand, Objectives, TokenMeans
from adapter_predictor.placement.judge import Judge
from adapter_predictor.placement.packing import contents_of, spread
from adapter_predictor.plan import Plan
from adapter_predictor.predictor import Predictor, TwinPredictor

MOST_HEADROOM: Final = 3.0
"""Nobody asks for more than four times the traffic."""

FRONTIER_S: Final = 1.0
"""Seconds that a frontier may take; what is not known by then is left out."""

_BISECTIONS: Final = 9
_STEPS: Final = (0, -1, 1, 2, 4)


@dataclass(frozen=True)
class FrontierPoint:
    """What a number of GPUs carries.

    Attributes:
        gpus: That many.
        headroom: By which part all rates may grow while every replica is predicted to meet the objectives;
            0.1 is 10 %. None where not even the declared rates are carried.
    """

    gpus: int
    headroom: float | None


def frontier(
    demands: Sequence[AdapterDemand],
    predictor: Predictor,
    objectives: Objectives,
    plan: Plan,
    *,
    tokens: TokenMeans | None = None,
) -> tuple[FrontierPoint, ...]:
    """The headroom of the plan, and of evenly loaded replicas somewhat fewer and more than it has.

    By the predictor alone, and within `FRONTIER_S`; nothing where the twin itself predicts: it takes longer.
    """
    if isinstance(predictor, TwinPredictor):
        return ()
    deadline, each = Deadline.after(FRONTIER_S), predictor.profile.tensor_parallel_size
    found = {plan.replicas: plan_headroom(plan, demands, predictor, objectives, tokens=tokens)}
    for step in _STEPS:
        replicas = plan.replicas + step
        if replicas >= 1 and not deadline.expired:
            carried = _even_headroom(demands, _judge(predictor, objectives, tokens), replicas)
            known = [most for most in (found.get(replicas), carried) if most is not None]
            found[replicas] = max(known, default=None)
    return tuple(FrontierPoint(replicas * each, found[replicas]) for replicas in sorted(found))


def plan_headroom(
    plan: Plan,
    demands: Sequence[AdapterDemand],
    predictor: Predictor,
    objectives: Objectives,
    *,
    tokens: TokenMeans | None = None,
) -> float | None:
    """By which part all rates may grow before a replica of the plan is predicted to miss an objective."""
    replicas = [replica for replica in replicas_of(plan, demands) if len(replica[0].rates)]
    return _most(_judge(predictor, objectives, tokens), lambda judge: bool(judge.feasible(replicas).all()))


def _even_headroom(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> float | None:
    bins = [contents_of(pieces) for pieces in spread(demands, replicas) if pieces]
    copies = max(demand.min_copies for demand in demands)
    return None if replicas < copies else _most(judge, lambda stricter: bool(stricter.carries(bins).all()))


def _judge(predictor: Predictor, objectives: Objectives, tokens: TokenMeans | None) -> Judge:
    """A judge who asks for no headroom of his own."""
    lengths = predictor.profile.workload_defaults
    means = tokens or TokenMeans(lengths.prompt.mean, lengths.output.mean)
    return Judge(predictor, replace(objectives, headroom=0.0), means)


def _most(judge: Judge, does: Callable[[Judge], bool]) -> float | None:
    """The most headroom with which something does, by bisection; None where nothing of it does."""
    if not does(judge):
        return None
    low, high = 0.0, MOST_HEADROOM
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if does(judge.stricter(middle)) else (low, middle)
    return low
