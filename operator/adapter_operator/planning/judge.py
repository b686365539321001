"""From what the twin reported to a verdict. Pure: the same reports always give the same verdict."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapter_operator.planning.figures import adapter_figures, replica_figures
from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import (
    WORST_ADAPTERS,
    AdapterFigures,
    Reason,
    ReplicaFigures,
    Verdict,
)
from adapter_operator.planning.wording import percent
from adapter_predictor.plan import Plan
from adapter_twin.fleet import FleetReport
from adapter_twin.report import Status


@dataclass(frozen=True)
class Measure:
    """How one replica stands to one objective.

    Attributes:
        replica: The replica.
        reason: What a plan that misses the objective is rejected for.
        slack: Distance from the limit, relative to the limit; negative where it is missed.
        sentence: How it stands, in words.
    """

    replica: str
    reason: Reason
    slack: float
    sentence: str


def judge(request: PlanningRequest, plan: Plan, reports: Sequence[FleetReport]) -> Verdict:
    """The verdict on a plan, from one report of the whole fleet for each seed.

    A replica meets the served fraction where its tokens completed over tokens offered, averaged over the
    seeds, reach it; the latency objectives where the means over finished requests do. An adapter meets it as
    `planning.starvation` says.
    """
    out_of_memory = _out_of_memory(reports[0])
    figures = tuple(replica_figures(request, plan, reports)) if not out_of_memory else ()
    adapters = adapter_figures(request, reports) if not out_of_memory else ()
    measures = [measure for one in figures for measure in _measures(request, one)]
    starving = [adapter for adapter in adapters if adapter.starving]
    reason, message = _reason(request, out_of_memory, measures, starving)
    return Verdict(
        status="Rejected" if reason else "Verified",
        reason=reason,
        message=message,
        plan_hash=plan.hash,
        profile_hash=request.profile.content_hash,
        seeds=request.verification_seeds[: len(reports)],
        horizon_s=request.verification.horizon_s,
        failing=tuple(sorted({*out_of_memory, *(one.replica for one in measures if one.slack < 0.0)})),
        margin=_margin(request, measures, starving),
        replicas=figures,
        worst_adapters=tuple(adapters[:WORST_ADAPTERS]),
        starving=len(starving),
    )


def _out_of_memory(report: FleetReport) -> dict[str, str]:
    """Replicas that do not start, and why; memory does not depend on the seed."""
    return {
        name: one.memory.reason for name, one in report.replicas.items() if one.status is Status.OUT_OF_MEMORY
    }


def _reason(
    request: PlanningRequest,
    out_of_memory: Mapping[str, str],
    measures: Sequence[Measure],
    starving: Sequence[AdapterFigures],
) -> tuple[Reason, str]:
    """The gravest thing that is wrong; no reason, and what was reached, where nothing is."""
    if out_of_memory:
        name, why = next(iter(out_of_memory.items()))
        return "OutOfMemory", f"replica {name} does not start: {why}"
    if unserved := _missed(measures, "Starvation"):
        return "Starvation", _worst_sentence(unserved)
    if starving:
        return "Starvation", _starving_sentence(request, starving)
    if slow := _missed(measures, "LatencyObjective"):
        return "LatencyObjective", _worst_sentence(slow)
    tightest = min(measures, key=lambda one: one.slack)
    return "", f"the twin saw every objective met; the tightest: {tightest.sentence}"


def _missed(measures: Sequence[Measure], reason: Reason) -> list[Measure]:
    missed = [one for one in measures if one.reason == reason and one.slack < 0.0]
    return sorted(missed, key=lambda one: one.slack)


def _worst_sentence(missed: Sequence[Measure]) -> str:
    return missed[0].sentence + (f" ({len(missed)} replicas miss theirs)" if len(missed) > 1 else "")


def _starving_sentence(request: PlanningRequest, starving: Sequence[AdapterFigures]) -> str:
    worst, objective = starving[0], request.objectives.served_fraction
    others = f" ({len(starving)} adapters starve)" if len(starving) > 1 else ""
    return (
        f"adapter {worst.name} is served {percent(worst.served_fraction)} of its tokens "
        f"({worst.completed} of {worst.requests} requests), below {percent(objective)}{others}"
    )


def _margin(
    request: PlanningRequest, measures: Sequence[Measure], starving: Sequence[AdapterFigures]
) -> float | None:
    """The least slack; a starving adapter counts as a replica would that is served as little."""
    objective = request.objectives.served_fraction
    slacks = [one.slack for one in measures]
    slacks += [adapter.served_fraction / objective - 1.0 for adapter in starving]
    return min(slacks, default=None)


def _measures(request: PlanningRequest, figures: ReplicaFigures) -> Iterator[Measure]:
    """How a replica stands to each objective that there is."""
    objectives, served = request.objectives, figures.served_fraction
    yield Measure(
        figures.name,
        "Starvation",
        served / objectives.served_fraction - 1.0,
        f"replica {figures.name} serves {percent(served)} of its tokens, "
        f"{_relation(served < objectives.served_fraction)} {percent(objectives.served_fraction)}",
    )
    yield from _latency(figures, "inter-token latency", figures.itl_s, objectives.itl_s)
    yield from _latency(figures, "time to first token", figures.ttft_s, objectives.ttft_s)


def _relation(missed: bool) -> str:
    return "below the objective of" if missed else "the objective is"


def _latency(figures: ReplicaFigures, what: str, mean_s: float, limit_s: float | None) -> Iterator[Measure]:
    """A latency that nobody waited for (no request finished) is judged by the served fraction alone."""
    if limit_s is None or math.isnan(mean_s):
        return
    relation = "above the objective of" if mean_s > limit_s else "the objective is"
    yield Measure(
        figures.name,
        "LatencyObjective",
        1.0 - mean_s / limit_s,
        f"replica {figures.name} has a mean {what} of {1e3 * mean_s:.1f} ms, "
        f"{relation} {1e3 * limit_s:.1f} ms",
    )
