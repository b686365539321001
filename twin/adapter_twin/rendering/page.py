"""A report as one HTML page with its plots inside."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adapter_twin.errors import AdaptwinError
from adapter_twin.rendering.figures import headline, latencies, percent, seconds, totals, worst_adapters
from adapter_twin.report import Status
from adapter_twin.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from adapter_twin.report import Report

_COLOURS = ("#3b82f6", "#f97316", "#10b981")
_STYLE: Any = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "adaptwin",
}


def report_page(report: Report, title: str, settings: Mapping[str, object]) -> str:
    """The page.

    Args:
        report: of one replica.
        title: names model and GPU.
        settings: what was simulated, by name.

    Raises:
        AdaptwinError: matplotlib is not installed.
    """
    environment = Environment(
        loader=PackageLoader("adapter_twin", "rendering/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, seconds=seconds)
    return environment.get_template("replica.html.j2").render(
        title=title,
        headline=headline(report),
        settings=settings,
        totals=totals(report),
        latencies=latencies(report),
        worst=worst_adapters(report),
        plots=[] if report.status is Status.OUT_OF_MEMORY else _plots(report),
        version=__version__,
    )


def _plots(report: Report) -> list[Markup]:
    """SVG elements; made here, so safe to embed."""
    series = report.timeseries
    minutes = series.time_s / 60
    return [
        _lines("Requests", "requests", minutes, {"running": series.running, "waiting": series.waiting}),
        _lines(
            "Tokens",
            "tokens/s",
            minutes,
            {"decoded": series.decoded_tokens_per_s, "prompt": series.prefill_tokens_per_s},
        ),
        _lines("KV cache in use", "fraction", minutes, {"KV cache": series.kv_usage}, top=1.05),
        _served(report),
    ]


def _lines(
    title: str,
    unit: str,
    minutes: NDArray[np.float64],
    series: Mapping[str, NDArray[np.float64]],
    top: float | None = None,
) -> Markup:
    def draw(axes: Any) -> None:
        for colour, (name, values) in zip(_COLOURS, series.items(), strict=False):
            axes.plot(minutes, values, label=name, color=colour, linewidth=1.4)
        axes.set(title=title, xlabel="minutes", ylabel=unit)
        axes.set_ylim(0, top)
        if len(series) > 1:
            axes.legend(frameon=False)

    return _svg(draw)


def _served(report: Report) -> Markup:
    def draw(axes: Any) -> None:
        axes.plot(np.sort(report.per_adapter.served_fraction), color=_COLOURS[0], linewidth=1.4)
        axes.set(title="Served fraction of each adapter", xlabel="adapters, worst first", ylabel="fraction")
        axes.set_ylim(0, 1.05)

    return _svg(draw)


def _svg(draw: Any) -> Markup:
    try:
        import matplotlib as mpl  # noqa: PLC0415 (an optional dependency)
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise AdaptwinError("report: plots need matplotlib, install adaptwin[report]") from error
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 2.9), layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    text = file.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704
