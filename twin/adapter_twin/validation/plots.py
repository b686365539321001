"""Plots of predicted against measured, and of where the errors are."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from adapter_twin.errors import AdaptwinError
from adapter_twin.measurements.measures import REGIMES
from adapter_twin.measurements.tables import MeasuredRun, Run
from adapter_twin.validation.scores import Comparison, measured_figure, predicted_figure

_PANELS = {
    "throughput": ("tokens/s", 1.0),
    "ITL": ("ms", 1e3),
    "TPOT": ("ms", 1e3),
    "TTFT": ("s", 1.0),
}
"""Unit of each panel, and its size in the unit of the figures."""
_WIDE = 100.0
"""Axes that span more have ticks at powers of ten only."""
_BAND = 0.1
_COLOURS = {"unsaturated": "#2a7f62", "knee": "#d08c1d", "overloaded": "#a23b49"}
_ERROR_COLOURS = {"throughput": "#2f4b7c", "ITL": "#d45087", "TTFT": "#8a8d91"}
_FACTORS: dict[str, Callable[[MeasuredRun], float | None]] = {
    "adapters": lambda run: run.adapters,
    "slots": lambda run: run.max_loras if isinstance(run, Run) else None,
    "rank of the slots": lambda run: run.max_lora_rank if isinstance(run, Run) else None,
    "batch size": lambda run: run.batch_size,
}
_MOST_GROUPS = 8
_WIDTH, _HEIGHT = 3.7, 3.3


def plot_validation(compared: Mapping[str, Sequence[Comparison]], path: Path) -> None:
    """Draw two rows of panels per profile into an image file (format by its suffix).

    The upper row has predicted against measured with a band of 10 %, the lower one the median error and its
    quartiles by what was configured and by the size of the batch.

    Raises:
        AdaptwinError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an optional dependency)
    except ImportError as error:
        raise AdaptwinError("plots need matplotlib: pip install 'adaptwin[report]'") from error
    columns = len(_PANELS)
    figure = Figure(figsize=(_WIDTH * columns, 2 * _HEIGHT * len(compared)), layout="constrained")
    rows = figure.subfigures(len(compared), 1, squeeze=False)[:, 0]
    for part, (name, comparisons) in zip(rows, compared.items(), strict=True):
        part.suptitle(name, fontsize=11, x=0.01, ha="left", weight="bold")
        ok = [item for item in comparisons if item.ok and item.prediction.status == "ok"]
        axes = part.subplots(2, columns)
        for axis, panel in zip(axes[0], _PANELS, strict=True):
            _agreement(axis, ok, panel)
        for axis, factor in zip(axes[1], _FACTORS, strict=True):
            _errors_by(axis, ok, factor)
        axes[0][0].legend(fontsize=8, frameon=False, loc="upper left")
        axes[1][0].legend(fontsize=8, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))
        for axis in axes[1][1:]:
            axis.sharey(axes[1][0])
    figure.savefig(path, dpi=110)


def _agreement(axis: Any, ok: Sequence[Comparison], name: str) -> None:
    """Predicted against measured, one point a run, on logarithmic axes."""
    unit, size = _PANELS[name]
    points = {regime: _points(ok, name, regime) * size for regime in REGIMES}
    every = np.concatenate(list(points.values()))
    axis.set_title(name, fontsize=9)
    axis.set(xlabel=f"measured ({unit})", ylabel=f"predicted ({unit})")
    axis.tick_params(labelsize=8)
    if not every.size:
        return
    line = np.array([every.min(), every.max()])
    axis.plot(line, line, color="#555", lw=0.8, zorder=0)
    axis.fill_between(line, line * (1.0 - _BAND), line * (1.0 + _BAND), color="#555", alpha=0.12, lw=0)
    for regime, pairs in points.items():
        axis.scatter(*pairs.T, s=9, alpha=0.6, color=_COLOURS[regime], label=regime, lw=0)
    axis.set(xscale="log", yscale="log")
    _ticks(axis, wide=line[1] / line[0] >= _WIDE)


def _points(ok: Sequence[Comparison], name: str, regime: str) -> np.ndarray:
    """Positive pairs of measured and predicted values, shape (n, 2)."""
    pairs = [
        (measured_figure(item.run, name), predicted_figure(item.prediction, name))
        for item in ok
        if item.regime == regime
    ]
    values = np.array(pairs, float).reshape(-1, 2)
    usable: np.ndarray = values[(np.isfinite(values) & (values > 0.0)).all(axis=1)]
    return usable


def _ticks(axis: Any, *, wide: bool) -> None:
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 (an optional dependency)

    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        side.set_major_formatter("{x:g}")
    axis.minorticks_off()


def _errors_by(axis: Any, ok: Sequence[Comparison], factor: str) -> None:
    """Median and quartiles of the errors, in percent, for each value (or range of values) of a factor."""
    values = np.array([_FACTORS[factor](item.run) or np.nan for item in ok], float)
    groups = _groups(values)
    if not groups:
        axis.set_axis_off()
        return
    for place, (name, colour) in enumerate(_ERROR_COLOURS.items()):
        errors = np.array([_error_percent(item, name) for item in ok], float)
        quartiles = [_quartiles(errors[members]) for members in groups.values()]
        low, middle, high = np.array(quartiles).reshape(-1, 3).T
        at = np.arange(len(groups)) + 0.22 * (place - 1)
        axis.vlines(at, low, high, color=colour, lw=2.0, alpha=0.45)
        axis.plot(at, middle, "o", ms=4, color=colour, label=name)
    axis.axhline(0.0, color="#555", lw=0.8, zorder=0)
    axis.axhspan(-100.0 * _BAND, 100.0 * _BAND, color="#555", alpha=0.08, lw=0)
    axis.set_xticks(range(len(groups)), list(groups), fontsize=8)
    axis.tick_params(labelsize=8)
    axis.set(xlabel=factor, ylabel="error (%)")


def _groups(values: np.ndarray) -> dict[str, np.ndarray]:
    """Masks by label: one for each distinct value, or of equal sizes if these are many."""
    distinct = np.unique(values[np.isfinite(values)])
    if distinct.size <= _MOST_GROUPS:
        return {f"{value:.3g}": values == value for value in distinct}
    edges = np.unique(np.quantile(values[np.isfinite(values)], np.linspace(0.0, 1.0, _MOST_GROUPS)))
    edges[-1] = np.nextafter(edges[-1], np.inf)
    return {f"{low:.0f}–\n{high:.0f}": (values >= low) & (values < high) for low, high in pairwise(edges)}


def _error_percent(item: Comparison, name: str) -> float:
    measured = measured_figure(item.run, name)
    return 100.0 * (predicted_figure(item.prediction, name) / measured - 1.0) if measured > 0.0 else np.nan


def _quartiles(errors: np.ndarray) -> tuple[float, float, float]:
    finite = errors[np.isfinite(errors)]
    if not finite.size:
        return (np.nan, np.nan, np.nan)
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
    return (float(low), float(middle), float(high))
