"""The decision: search for a plan that the twin verifies, and say what came of it. Pure but for the clock."""

import time
from dataclasses import replace

from adapter_operator.planning.decision import Attempt, Decision
from adapter_operator.planning.explanation import bound, explanation
from adapter_operator.planning.outcome import best_of, limits_bind, nothing_fits, unreachable
from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.search import PlanSearch, Progress, Stages
from adapter_operator.planning.verdict import Reason, Verdict
from adapter_operator.planning.verify import TwinVerifier, Verifier, rejected, timed_out
from adapter_predictor.deadline import Clock, Deadline
from adapter_predictor.predictor import Predictor
from adapter_twin.errors import ProfileError


def decide(
    request: PlanningRequest,
    *,
    predictor: Predictor | None = None,
    verifier: Verifier | None = None,
    progress: Progress | None = None,
    clock: Clock = time.monotonic,
) -> Decision:
    """The plan for a request, verified by the twin; or the best effort, and why it is rejected.

    The same request always gives the same decision, unless time runs out.

    Args:
        request: What is asked.
        predictor: Predicts single replicas for the placement; the profile's own where None.
        verifier: Has the last word on every plan; the twin where None.
        progress: Told in words what is being done.
        clock: Measures stages and the request's timeout.
    """
    deadline = Deadline.after(request.verification.timeout_s, clock)
    stages = Stages(clock, progress or _tell_nobody)
    if message := nothing_fits(request):
        return reject(request, "OutOfMemory", message)
    try:
        with stages.stage("load predictor", "loading the predictor"):
            predictor = predictor or Predictor.for_profile(request.profile)
        return _decide(PlanSearch(request, predictor, verifier or TwinVerifier(), deadline, stages))
    except ProfileError as error:
        return reject(request, "ProfileInvalid", str(error))


def reject(request: PlanningRequest, reason: Reason, message: str) -> Decision:
    """A decision without a plan."""
    return Decision(plan=None, verdict=rejected(request, None, reason, message))


def _decide(search: PlanSearch) -> Decision:
    search.run()
    if not search.attempts:
        return _without_plan(search)
    best = best_of(search.attempts)
    if best.verdict.verified:
        search.try_fewer_replicas(best)
        best = best_of(search.attempts)
        verdict = replace(best.verdict, envelope=search.envelope(best))
    else:
        verdict = _rejection(search, best)
    return Decision(
        plan=best.plan,
        verdict=verdict,
        prediction=best.placement.predictions,
        explanation=explanation(search, best),
        lower_bound=bound(best),
        attempts=tuple(search.attempts),
        timings=dict(search.stages.seconds),
    )


def _without_plan(search: PlanSearch) -> Decision:
    """Nothing was put before the twin: no replica is possible, or time ran out before there was a plan."""
    placement, timings = search.unplaceable, dict(search.stages.seconds)
    if placement is None:
        return Decision(plan=None, verdict=timed_out(search.request, None), timings=timings)
    reason: Reason = "ObjectivesUnreachable" if placement.missing_gpus else "OutOfMemory"
    decision = reject(search.request, reason, "; ".join(placement.explanation))
    verdict = replace(decision.verdict, missing_gpus=placement.missing_gpus)
    return replace(decision, verdict=verdict, lower_bound=placement.lower_bound, timings=timings)


def _rejection(search: PlanSearch, best: Attempt) -> Verdict:
    """The verdict on the best effort, with what stands in the way."""
    verdict, tried = best.verdict, len(search.attempts)
    if verdict.reason in ("OutOfMemory", "Timeout"):
        return verdict
    if search.deadline.expired:
        seconds = search.request.verification.timeout_s
        message = f"time ran out ({seconds:g} s) after {tried} plans; the best of them: {verdict.message}"
        return replace(verdict, reason="Timeout", message=message)
    if limits_bind(search.request, search.attempts):
        return unreachable(search.request, verdict, search.missing_gpus())
    return replace(verdict, message=f"{verdict.message}; {tried} plans were tried")


def _tell_nobody(_: str) -> None:
    """Progress that nobody asked for."""
