"""A decision as one self-contained page with plots: no scripts, no network."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adapter_operator.planning import Decision, PlanningRequest
from adapter_operator.planning.errors import PlanningError
from adapter_operator.planning.loads import demanded_loads
from adapter_operator.rendering import words
from adapter_operator.rendering.text import served_by
from adapter_predictor.load import ReplicaLoad
from adapter_predictor.placement import FrontierPoint
from adapter_predictor.plan import Plan
from adapter_predictor.prediction import Prediction
from adapter_predictor.predictor import Predictor
from adapter_twin.version import __version__

SLOTS_LOOKED_AT = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384)
CURVES = 3
"""Replicas whose slots are varied: the most loaded ones."""


def write_report(
    path: Path,
    request: PlanningRequest,
    decision: Decision,
    points: Sequence[FrontierPoint] = (),
    predictor: Predictor | None = None,
) -> None:
    """Write the page.

    Args:
        path: Where to.
        request: What was asked.
        decision: What came of it.
        points: GPUs against headroom.
        predictor: Draws the curves; the profile's own where None.
    """
    try:
        path.write_text(render_report(request, decision, points, predictor), encoding="utf-8")
    except OSError as error:
        raise PlanningError(f"--report: {path} cannot be written: {error.strerror}") from error


def render_report(
    request: PlanningRequest,
    decision: Decision,
    points: Sequence[FrontierPoint] = (),
    predictor: Predictor | None = None,
) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("adapter_operator.rendering"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": words, "version": __version__}
    template = environment.get_template("plan.html.j2")
    return template.render(
        request=request,
        decision=decision,
        verdict=decision.verdict,
        points=points,
        **_parts(request, decision, points, predictor),
    )


def _parts(
    request: PlanningRequest,
    decision: Decision,
    points: Sequence[FrontierPoint],
    predictor: Predictor | None,
) -> Mapping[str, Any]:
    """What the template needs beyond request and decision."""
    if decision.plan is None:
        return {"plots": {}, "served": {}, "demanded": {}}
    predictor = predictor or Predictor.for_profile(request.profile)
    loads = demanded_loads(request, decision.plan)
    demanded = {name: predictor.predict(load) for name, load in loads.items()}
    served = {name: served_by(request, decision.plan, name) for name in loads}
    return {
        "served": served,
        "demanded": demanded,
        "plots": {
            name: Markup(svg)  # noqa: S704 - made by matplotlib, which escapes names
            for name, svg in {
                **_plots(request, decision, decision.plan, predictor, loads, demanded),
                **_frontier_plot(request, decision.plan, points),
            }.items()
        },
    }


def _plots(
    request: PlanningRequest,
    decision: Decision,
    plan: Plan,
    predictor: Predictor,
    loads: Mapping[str, ReplicaLoad],
    demanded: Mapping[str, Prediction],
) -> Mapping[str, str]:
    plots = _plotting()
    figures = decision.verdict.replicas
    drawn = {
        "rates": plots.rates_by_replica({name: served_by(request, plan, name) for name in loads}),
        "slots": _slots_plot(plots, request, predictor, loads),
    }
    if figures:
        drawn["predicted"] = plots.predicted_and_simulated(demanded, figures)
    if any(one.timeline is not None for one in figures):
        drawn["time"] = plots.over_time(figures)
    return drawn


def _frontier_plot(
    request: PlanningRequest, plan: Plan, points: Sequence[FrontierPoint]
) -> Mapping[str, str]:
    """GPUs against headroom; nothing where fewer than two points are known."""
    if sum(point.headroom is not None for point in points) < 2:
        return {}
    gpus = plan.gpus(request.profile.tensor_parallel_size)
    return {"frontier": _plotting().frontier_curve(points, gpus, request.headroom)}


def _slots_plot(
    plots: Any, request: PlanningRequest, predictor: Predictor, loads: Mapping[str, ReplicaLoad]
) -> str:
    busiest = dict(sorted(loads.items(), key=lambda item: -item[1].rate)[:CURVES])
    widest = max(busiest.values(), key=lambda load: load.max_loras)
    largest = max(2 * widest.max_loras, len(widest.rates))
    chosen = {name: load.max_loras for name, load in busiest.items()}
    slots = sorted({n for n in SLOTS_LOOKED_AT if n <= largest} | set(chosen.values()))
    curves = {
        name: [predictor.predict(replace(load, max_loras=n)) for n in slots] for name, load in busiest.items()
    }
    svg: str = plots.slots_curve(slots, curves, chosen, request.objectives.served_fraction)
    return svg


def _plotting() -> Any:
    """The module that draws; matplotlib is an optional dependency."""
    try:
        from adapter_operator.rendering import plots  # noqa: PLC0415 - only reports need matplotlib
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("matplotlib"):
            raise PlanningError("--report: matplotlib is not installed; install adaptwin[report]") from error
        raise
    return plots
