"""Plots of predicted against measured, one row of panels per profile."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapter_twin.errors import AdaptwinError
from adapter_twin.measurements.measures import REGIMES, regime
from adapter_twin.measurements.tables import Run, pooled_tokens_per_request
from adapter_twin.validation.runs import Prediction
from adapter_twin.validation.scores import measured_figure, predicted_figure

_PANELS = {
    "throughput": ("tokens/s", 1.0),
    "ITL": ("ms", 1e3),
    "TPOT": ("ms", 1e3),
    "TTFT": ("s", 1.0),
}
"""Unit of each panel, and its size in the unit of the figures."""
_WIDE = 100.0
"""Axes that span more have ticks at powers of ten only."""
_COLOURS = {"unsaturated": "#2a7f62", "knee": "#d08c1d", "overloaded": "#a23b49"}


@dataclass(frozen=True)
class Validated:
    """A profile's predictions of measured runs."""

    profile_name: str
    runs: Sequence[Run]
    predictions: Sequence[Prediction]


def plot_validation(validated: Sequence[Validated], path: Path) -> None:
    """Draw predicted against measured into an image file (format by its suffix).

    Raises:
        AdaptwinError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an optional dependency)
    except ImportError as error:
        raise AdaptwinError("plots need matplotlib: pip install 'adaptwin[report]'") from error
    figure = Figure(figsize=(3.6 * len(_PANELS), 3.5 * len(validated)), layout="constrained")
    axes = figure.subplots(len(validated), len(_PANELS), squeeze=False)
    for row, item in zip(axes, validated, strict=True):
        for axis, name in zip(row, _PANELS, strict=True):
            _panel(axis, item, name)
        row[0].set_title(f"{item.profile_name}\nthroughput", fontsize=9)
    axes[0][-1].legend(fontsize=8, frameon=False, loc="upper left")
    figure.savefig(path, dpi=110)


def _panel(axis: Any, item: Validated, name: str) -> None:
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 (an optional dependency)

    unit, size = _PANELS[name]
    tokens = pooled_tokens_per_request(item.runs)
    pairs = [
        (
            regime(run.throughput, run.offered_rate_rps * tokens),
            size * measured_figure(run, name),
            size * predicted_figure(prediction, name),
        )
        for run, prediction in zip(item.runs, item.predictions, strict=True)
        if run.status == "ok"
    ]
    for label in REGIMES:
        points = np.array([(m, p) for at, m, p in pairs if at == label and m > 0.0])
        if points.size:
            axis.scatter(points[:, 0], points[:, 1], s=9, alpha=0.6, color=_COLOURS[label], label=label, lw=0)
    bounds = np.array([m for _, m, _ in pairs if m > 0.0])
    line = np.array([bounds.min(), bounds.max()])
    axis.plot(line, line, color="#555", lw=0.8, zorder=0)
    axis.set(xscale="log", yscale="log", xlabel=f"measured ({unit})", ylabel=f"predicted ({unit})")
    axis.set_title(name, fontsize=9)
    axis.tick_params(labelsize=8)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5) if line[1] / line[0] < _WIDE else (1,)))
        side.set_major_formatter("{x:g}")
    axis.minorticks_off()
