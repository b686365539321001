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
from adapter_operator.planning.wording import percent, plural
from adapter_predictor.plan import Plan
from adapter_twin.fleet import FleetReport
from adapter_twin.report import Status


@dataclass(frozen=True)
class Measure:
    """How one replica stands to one objective.

    Attributes:
        replica: The replica.
        reason: What a plan that misses the objective is rejected for.
        place: Where it comes among the misses of a plan, of which the first is spoken of.
        slack: Distance from the limit, relative to the limit; negative where it is missed.
        sentence: How it stands, in words.
    """

    replica: str
    reason: Reason
    place: int
    slack: float
    sentence: str


def judge(request: PlanningRequest, plan: Plan, reports: Sequence[FleetReport]) -> Verdict:
    """The verdict on a plan, from one report of the whole fleet for each seed.

    `adapter_twin.starvation` says when a replica and its adapters meet the served fraction, averaged over the
    seeds. It meets the latency objectives where the means over finished requests do.
    """
    out_of_memory = _out_of_memory(reports[0])
    figures = tuple(replica_figures(request, plan, reports)) if not out_of_memory else ()
    adapters = adapter_figures(request, reports) if not out_of_memory else ()
    starving = {adapter.name: adapter for adapter in adapters if adapter.starving}
    measures = [measure for one in figures for measure in _measures(request, plan, one, starving)]
    reason, message = _reason(out_of_memory, measures, len(starving))
    return Verdict(
        status="Rejected" if reason else "Verified",
        reason=reason,
        message=message,
        plan_hash=plan.hash,
        profile_hash=request.profile.content_hash,
        seeds=request.verification_seeds[: len(reports)],
        horizon_s=request.verification.horizon_s,
        failing=tuple(sorted({*out_of_memory, *(one.replica for one in measures if one.slack < 0.0)})),
        margin=min((one.slack for one in measures), default=None),
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
    out_of_memory: Mapping[str, str], measures: Sequence[Measure], starving: int
) -> tuple[Reason, str]:
    """The gravest thing that is wrong; no reason, and what was reached, where nothing is."""
    if out_of_memory:
        name, why = next(iter(out_of_memory.items()))
        return "OutOfMemory", f"replica {name} does not start: {why}"
    if missed := [one for one in measures if one.slack < 0.0]:
        gravest = min(missed, key=lambda one: (one.place, one.slack))
        alike = {one.replica for one in missed if one.place == gravest.place}
        others = f" ({len(alike)} replicas fall short)" if len(alike) > 1 else ""
        return gravest.reason, gravest.sentence + others
    tightest = min(measures, key=lambda one: one.slack)
    hungry = f"; in all {plural(starving, 'adapter')} starve" if starving else ""
    return "", f"the twin saw every objective met; the tightest: {tightest.sentence}{hungry}"


def _measures(
    request: PlanningRequest, plan: Plan, figures: ReplicaFigures, starving: Mapping[str, AdapterFigures]
) -> Iterator[Measure]:
    """How a replica stands to each objective that there is."""
    objectives = request.objectives
    yield _served(figures, objectives.served_fraction)
    yield _well_served(request, plan, figures.name, starving)
    yield from _shut_out(plan, figures.name, starving, objectives.served_fraction)
    yield from _latency(figures, "inter-token latency", figures.itl_s, objectives.itl_s)
    yield from _latency(figures, "time to first token", figures.ttft_s, objectives.ttft_s)


def _served(figures: ReplicaFigures, objective: float) -> Measure:
    served = figures.served_fraction
    relation = "below the objective of" if served < objective else "the objective is"
    return Measure(
        figures.name,
        "Starvation",
        0,
        served / objective - 1.0,
        f"replica {figures.name} serves {percent(served)} of its tokens, {relation} {percent(objective)}",
    )


def _well_served(
    request: PlanningRequest, plan: Plan, replica: str, starving: Mapping[str, AdapterFigures]
) -> Measure:
    """The part of a replica's traffic that belongs to adapters which do not starve."""
    rates = {adapter.name: adapter.rate for adapter in request.adapters}
    here = {name: rates[name] * share for name, share in plan.assignment[replica].items()}
    hungry = {name: rate for name, rate in here.items() if name in starving}
    part = sum(hungry.values()) / (sum(here.values()) or 1.0)
    objective = request.objectives.served_fraction
    return Measure(
        replica,
        "Starvation",
        2,
        (1.0 - part) / objective - 1.0,
        f"{plural(len(hungry), 'adapter')} with {percent(part)} of the traffic of replica {replica} starve, "
        f"{'more than' if 1.0 - part < objective else 'and'} {percent(1.0 - objective)} may",
    )


def _shut_out(
    plan: Plan, replica: str, starving: Mapping[str, AdapterFigures], objective: float
) -> Iterator[Measure]:
    """Adapters of a replica that are served less than half of the objective."""
    for name in plan.assignment[replica]:
        adapter = starving.get(name)
        if adapter is not None and adapter.shut_out:
            yield Measure(
                replica,
                "Starvation",
                1,
                adapter.served_fraction / objective - 1.0,
                f"adapter {name} is served {percent(adapter.served_fraction)} of its tokens "
                f"({adapter.completed} of {adapter.requests} requests), less than half the objective of "
                f"{percent(objective)}",
            )


def _latency(figures: ReplicaFigures, what: str, mean_s: float, limit_s: float | None) -> Iterator[Measure]:
    """A latency that nobody waited for (no request finished) is judged by the served fraction alone."""
    if limit_s is None or math.isnan(mean_s):
        return
    relation = "above the objective of" if mean_s > limit_s else "the objective is"
    yield Measure(
        figures.name,
        "LatencyObjective",
        3,
        1.0 - mean_s / limit_s,
        f"replica {figures.name} has a mean {what} of {1e3 * mean_s:.1f} ms, "
        f"{relation} {1e3 * limit_s:.1f} ms",
    )
