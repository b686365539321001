"""A transition as one HTML page with its charts inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.fleet.figures import (
    completion,
    demand_groups,
    group_fraction,
    headline,
    totals,
    worst_adapters,
)
from adapter_twin.rendering.charts import line_chart
from adapter_twin.rendering.page import PageFigure, page_environment
from adapter_twin.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adapter_twin.fleet.comparison import Comparison
    from adapter_twin.fleet.figures import Group, Objectives
    from adapter_twin.fleet.history import AdapterHistory
    from adapter_twin.workload.model import Adapter


def transition_page(
    comparison: Comparison,
    objectives: Objectives,
    adapters: Sequence[Adapter],
    rollout_at_s: float | None,
    title: str,
    settings: Mapping[str, object],
) -> str:
    """The page.

    Args:
        comparison: what was simulated.
        objectives: what it is measured by.
        adapters: of the workload.
        rollout_at_s: when the change begins, if there is one.
        title: names model and GPU.
        settings: what was simulated, by name.
    """
    moving, staying = comparison.starving_adapter_s(objectives.served_fraction)
    sentences = (headline(comparison, objectives), completion(comparison, rollout_at_s))
    return (
        page_environment()
        .get_template("transition.html.j2")
        .render(
            title=title,
            headline=" ".join(filter(None, sentences)),
            healthy=moving <= staying,
            settings=settings,
            totals=totals(comparison, objectives),
            worst=worst_adapters(comparison, objectives),
            plots=[
                ("Served in time", _served(comparison, demand_groups(adapters))),
                ("Over time", _over_time(comparison, objectives)),
            ],
            events=[event for event in comparison.transition.events if not event.adapter],
            version=__version__,
        )
    )


def _served(comparison: Comparison, groups: Sequence[Group]) -> list[PageFigure]:
    """A figure for each group of adapters that had anything due."""
    figures = []
    for group in groups:
        lines = {name: group_fraction(own, group) for name, own in _histories(comparison).items()}
        known = np.isfinite(lines["changing"]) & np.isfinite(lines["staying"])
        if known.any():
            shown = {name: values[known] for name, values in lines.items()}
            figures.append(_figure(group.name, comparison, shown, "served fraction", known, top=1.0))
    return figures


def _over_time(comparison: Comparison, objectives: Objectives) -> list[PageFigure]:
    return [_starving(comparison, objectives), _replicas(comparison), _copies(comparison)]


def _starving(comparison: Comparison, objectives: Objectives) -> PageFigure:
    lines = {
        name: own.starving(objectives.served_fraction).sum(axis=1).astype(np.float64)
        for name, own in _histories(comparison).items()
    }
    return _figure("Starving adapters", comparison, lines, "adapters")


def _replicas(comparison: Comparison) -> PageFigure:
    lines = {
        name: report.replicas_with_gpus.astype(np.float64)
        for name, report in (("changing", comparison.transition), ("staying", comparison.staying))
    }
    return _figure("Replicas that hold GPUs", comparison, lines, "replicas")


def _copies(comparison: Comparison) -> PageFigure:
    lines = {name: own.unavailable_s.sum(axis=1) / own.bin_s for name, own in _histories(comparison).items()}
    return _figure("Adapters without a copy", comparison, lines, "adapters, mean")


def _histories(comparison: Comparison) -> dict[str, AdapterHistory]:
    return {"changing": comparison.transition.adapters, "staying": comparison.staying.adapters}


def _figure(
    title: str,
    comparison: Comparison,
    lines: Mapping[str, NDArray[np.float64]],
    unit: str,
    shown: NDArray[np.bool_] | slice = slice(None),
    top: float | None = None,
) -> PageFigure:
    minutes = comparison.transition.adapters.time_s[shown] / 60
    legend = tuple((f"c{i}", name) for i, name in enumerate(lines, start=1))
    label = f"{title} over time, changing and staying"
    return PageFigure(title, line_chart(label, minutes, lines, unit=unit, top=top, least_top=1.0), legend)
