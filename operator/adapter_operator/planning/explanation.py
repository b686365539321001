"""Why a plan is what it is, in sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from adapter_operator.planning.decision import Attempt
from adapter_operator.planning.loads import demanded_loads
from adapter_operator.planning.search import PlanSearch
from adapter_operator.planning.wording import plural
from adapter_predictor.placement import LowerBound


def explanation(search: PlanSearch, best: Attempt) -> tuple[str, ...]:
    """The placement's reasons, the predictor's for its tightest replica, and what the twin changed."""
    return (*_placement(best), *_predictor(search, best), *_twin(search.attempts, best))


def bound(best: Attempt) -> LowerBound:
    """The placement's lower bound, which is the predictor's: never above a plan that the twin verified."""
    said = best.placement.lower_bound
    if best.verdict.verified and best.plan.replicas < said.gpus:
        return replace(said, gpus=best.plan.replicas)
    return said


def _placement(best: Attempt) -> Sequence[str]:
    """What the placement says; its regret about the limits is void where the twin verified the plan."""
    sentences = best.placement.explanation
    if best.placement.feasible or not best.verdict.verified:
        return sentences
    replicas = plural(best.plan.replicas, "replica")
    return (f"The twin verified {replicas} where the predictor alone asks for more.", *sentences[1:])


def _predictor(search: PlanSearch, best: Attempt) -> Iterator[str]:
    """The decision path and the nearest flip of the replica that is predicted to serve least."""
    loads = demanded_loads(search.request, best.plan)
    name = min(loads, key=lambda one: best.placement.predictions[one].served_fraction)
    why = search.predictor.explain(loads[name], search.request.objectives.served_fraction)
    yield f"Decision path of {name}: {'; '.join(why.path)}."
    yield f"Nearest flip of {name}: {why.nearest_flip}."
    if why.warnings:
        yield f"The predictor extrapolates for {name}: {'; '.join(why.warnings)}."


def _twin(attempts: Sequence[Attempt], best: Attempt) -> Iterator[str]:
    """What the twin made of the plans that came before, or instead of, the best."""
    for attempt in attempts:
        if attempt is not best and not attempt.verdict.verified:
            replicas, message = plural(attempt.plan.replicas, "replica"), attempt.verdict.message
            yield f"Plan {attempt.plan.hash} with {replicas} was rejected by the twin: {message}."
