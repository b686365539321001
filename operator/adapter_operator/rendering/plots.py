"""Plots as SVG that belongs to the page around it: its text and axes take the page's colour and font."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from adapter_operator.planning.verdict import ReplicaFigures
from adapter_operator.rendering.text import Served
from adapter_predictor.placement import FrontierPoint
from adapter_predictor.prediction import Prediction

COLOURS = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#14b8a6", "#eab308", "#64748b")
"""Told apart on light and on dark pages; a plot with more series goes round again."""

FAILING = "#ef4444"
TEXT_STANDS_FOR_PAGE_COLOUR = "#010203"
MOST_SERIES = 12
WIDTH_INCHES = 9.2


@contextmanager
def _canvas(
    rows: int, columns: int, height: float, salt: str, **options: Any
) -> Iterator[tuple[Any, list[str]]]:
    """Axes to draw on; afterwards the list holds the SVG."""
    style: Any = {
        "axes.edgecolor": TEXT_STANDS_FOR_PAGE_COLOUR,
        "axes.labelcolor": TEXT_STANDS_FOR_PAGE_COLOUR,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "font.size": 9,
        "grid.alpha": 0.2,
        "grid.color": TEXT_STANDS_FOR_PAGE_COLOUR,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.color": TEXT_STANDS_FOR_PAGE_COLOUR,
        "text.parse_math": False,
        "xtick.color": TEXT_STANDS_FOR_PAGE_COLOUR,
        "ytick.color": TEXT_STANDS_FOR_PAGE_COLOUR,
    }
    svg: list[str] = []
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        yield figure.subplots(rows, columns, squeeze=False, **options), svg
        svg.append(_as_svg(figure))


def _as_svg(figure: Figure) -> str:
    """The figure as an element to put into a page, without the XML head and metadata."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(TEXT_STANDS_FOR_PAGE_COLOUR, "currentColor")


def predicted_and_simulated(predictions: Mapping[str, Prediction], figures: Sequence[ReplicaFigures]) -> str:
    """Served fraction, throughput and latencies of each replica: the prediction beside the twin's word."""
    shown = [one for one in figures[:MOST_SERIES] if one.name in predictions]
    panels = (
        ("served fraction", "served_fraction", 100.0, "%"),
        ("throughput", "throughput_tokens_per_s", 1.0, "tokens/s"),
        ("inter-token latency", "itl_s", 1e3, "ms"),
        ("time to first token", "ttft_s", 1.0, "s"),
    )
    with _canvas(1, 4, 1.2 + 0.45 * len(shown), "predicted", sharey=True) as (axes, svg):
        for axis, (title, field, factor, unit) in zip(axes[0], panels, strict=True):
            predicted = [getattr(predictions[one.name], field) * factor for one in shown]
            simulated = [getattr(one, field) * factor for one in shown]
            _paired_bars(axis, predicted, simulated)
            axis.set(title=title, xlabel=unit)
        axes[0][0].set_yticks(range(len(shown)), [one.name for one in shown])
        axes[0][0].invert_yaxis()
        handles, labels = axes[0][0].get_legend_handles_labels()
        axes[0][0].figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=9)
    return svg[0]


def _paired_bars(axis: Axes, predicted: Sequence[float], simulated: Sequence[float]) -> None:
    places = range(len(predicted))
    axis.barh([place - 0.19 for place in places], predicted, 0.36, color=COLOURS[0], label="predicted")
    axis.barh([place + 0.19 for place in places], simulated, 0.36, color=COLOURS[1], label="twin")


def slots_curve(
    slots: Sequence[int],
    curves: Mapping[str, Sequence[Prediction]],
    chosen: Mapping[str, int],
    objective: float,
) -> str:
    """What each replica would deliver with other numbers of slots, and which number was chosen.

    Args:
        slots: The numbers of slots looked at.
        curves: For each replica its predictions, one for each of `slots`.
        chosen: For each replica its slots in the plan.
        objective: The served fraction demanded.
    """
    with _canvas(1, 2, 3.0, "slots") as (axes, svg):
        served, latency = axes[0]
        for (name, predictions), colour in zip(curves.items(), _colours(), strict=False):
            fitting = [(n, one) for n, one in zip(slots, predictions, strict=True) if one.fits]
            numbers = [n for n, _ in fitting]
            served.plot(
                numbers, [one.served_fraction for _, one in fitting], "o-", ms=3, color=colour, label=name
            )
            latency.plot(
                numbers, [one.itl_s * 1e3 for _, one in fitting], "o-", ms=3, color=colour, label=name
            )
            for axis in (served, latency):
                axis.axvline(chosen[name], color=colour, ls=":", lw=1.2)
        _mark_too_large(axes[0], slots, curves)
        served.axhline(objective, color=FAILING, lw=0.9)
        served.annotate(
            "objective", (slots[-1], objective), fontsize=8, va="bottom", ha="right", color=FAILING
        )
        served.yaxis.set_major_formatter(PercentFormatter(1.0))
        served.set(title="served fraction (dotted: the plan's slots)", xlabel="max-loras (slots)")
        latency.set(title="inter-token latency in ms", xlabel="max-loras (slots)")
        latency.legend(fontsize=8)
    return svg[0]


def _mark_too_large(
    axes: Sequence[Axes], slots: Sequence[int], curves: Mapping[str, Sequence[Prediction]]
) -> None:
    """Shade the numbers of slots for which no replica has the memory."""
    by_slots = zip(slots, zip(*curves.values(), strict=True), strict=True)
    too_large = [n for n, predictions in by_slots if not any(one.fits for one in predictions)]
    if too_large:
        for axis in axes:
            axis.axvspan(too_large[0], too_large[-1], color=FAILING, alpha=0.12, lw=0)
        axes[0].annotate("do not fit in memory", (too_large[-1], 0.5), fontsize=8, ha="right", color=FAILING)


def frontier_curve(points: Sequence[FrontierPoint], chosen: int, demanded: float) -> str:
    """By which part all rates may grow with each number of GPUs.

    Args:
        points: What is known.
        chosen: GPUs of the plan.
        demanded: Headroom that was asked for.
    """
    with _canvas(1, 1, 2.4, "frontier") as (axes, svg):
        axis = axes[0][0]
        carried = [(point.gpus, point.headroom) for point in points if point.headroom is not None]
        axis.plot(*zip(*carried, strict=True), "o-", ms=4, color=COLOURS[0])
        axis.axvline(chosen, color=COLOURS[1], ls=":", lw=1.2)
        axis.axhline(demanded, color=FAILING, lw=0.9)
        axis.annotate(
            "demanded", (points[-1].gpus, demanded), fontsize=8, va="bottom", ha="right", color=FAILING
        )
        axis.set_xticks([point.gpus for point in points])
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set(title="headroom (dotted: the plan)", xlabel="GPUs", ylim=(0, None))
        axis.grid(visible=True)
    return svg[0]


def over_time(figures: Sequence[ReplicaFigures]) -> str:
    """Running and waiting requests and KV cache of each replica, over the twin's first hour."""
    shown = [(one.name, one.timeline) for one in figures if one.timeline is not None][:MOST_SERIES]
    panels = (
        ("running requests", "running", 1.0),
        ("waiting requests", "waiting", 1.0),
        ("KV cache in use, %", "kv_usage", 100.0),
    )
    with _canvas(3, 1, 5.4, "time", sharex=True) as (axes, svg):
        for (axis,), (title, field, factor) in zip(axes, panels, strict=True):
            for (name, series), colour in zip(shown, _colours(), strict=False):
                values = getattr(series, field) * factor
                axis.plot(series.time_s / 60.0, values, lw=1.1, color=colour, label=name)
            axis.set(title=title, ylim=(0, None))
            axis.grid(visible=True)
        axes[0][0].legend(fontsize=8, ncols=4, loc="lower right")
        axes[2][0].set_xlabel("minutes")
    return svg[0]


def rates_by_replica(served: Mapping[str, Sequence[Served]]) -> str:
    """Each replica's load, made of its adapters' rates, hottest first."""
    shown = list(served.items())[:MOST_SERIES]
    with _canvas(1, 1, 0.9 + 0.42 * len(shown), "rates") as (axes, svg):
        axis = axes[0][0]
        for place, ((_, adapters), colour) in enumerate(zip(shown, _colours(), strict=False)):
            _stack(axis, place, [one.rate for one in adapters], colour)
        axis.set_yticks(range(len(shown)), [name for name, _ in shown])
        axis.invert_yaxis()
        axis.set(xlabel="requests/s; each segment is one adapter")
    return svg[0]


def _stack(axis: Axes, place: int, rates: Sequence[float], colour: str) -> None:
    """One bar made of segments in two shades by turns."""
    left = 0.0
    for index, rate in enumerate(rates):
        axis.barh(place, rate, 0.6, left=left, color=colour, alpha=(0.95, 0.6)[index % 2], linewidth=0)
        left += rate


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS
