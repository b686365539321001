"""A report as one HTML page with its plots inside: no scripts, and nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from adapter_twin.rendering.charts import histogram_chart, line_chart, served_chart, tidy
from adapter_twin.rendering.figures import (
    cards,
    headline,
    latencies,
    percent,
    seconds,
    starvation,
    totals,
    worst_adapters,
)
from adapter_twin.report import Status
from adapter_twin.slo import STARVATION_THRESHOLD
from adapter_twin.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from markupsafe import Markup
    from numpy.typing import NDArray

    from adapter_twin.report import Histogram, LatencySummary, Report


@dataclass(frozen=True)
class PageFigure:
    """A chart with its caption."""

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()
    """Style and name of what it shows."""
    wide: bool = False


def page_environment(package: str = "adapter_twin") -> Environment:
    """Where a package's page templates are; `base.html.j2` of the twin holds the style of all pages."""
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader(name, "rendering/templates") for name in (package, "adapter_twin")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, seconds=seconds)
    return environment


def report_page(
    report: Report,
    title: str,
    settings: Mapping[str, object],
    warnings: Sequence[str] = (),
    starvation_threshold: float = STARVATION_THRESHOLD,
) -> str:
    """The page.

    Args:
        report: of one replica.
        title: names model and GPU.
        settings: what was simulated, by name.
        warnings: what to know before trusting it, a sentence each.
        starvation_threshold: adapters served less than this starve.
    """
    started = report.status is not Status.OUT_OF_MEMORY
    starving = bool(report.starving_adapters(starvation_threshold))
    return (
        page_environment()
        .get_template("replica.html.j2")
        .render(
            title=title,
            headline=f"{headline(report)} {starvation(report, starvation_threshold) if started else ''}",
            healthy=started and not starving and report.served_fraction >= starvation_threshold,
            warnings=warnings,
            settings=settings,
            cards=cards(report) if started else [],
            totals=totals(report),
            latencies=latencies(report),
            worst=worst_adapters(report) if starving else [],
            plots=_plots(report, starvation_threshold) if started else [],
            version=__version__,
        )
    )


def _plots(report: Report, threshold: float) -> list[tuple[str, list[PageFigure]]]:
    """Figures by heading."""
    shown = [("Over time", _over_time(report)), ("Distributions of latency", _distributions(report))]
    if report.per_adapter.names:
        shown.insert(0, ("Who is served", [_served(report, threshold)]))
    return [(heading, figures) for heading, figures in shown if figures]


def _served(report: Report, threshold: float) -> PageFigure:
    own = report.per_adapter
    return PageFigure(
        "Served fraction of each adapter",
        served_chart(starvation(report, threshold), own.served_fraction, own.names, threshold),
        (("bad", f"starving, below {threshold:.0%}"), ("c1", "served")),
        wide=True,
    )


def _over_time(report: Report) -> list[PageFigure]:
    series = report.timeseries
    minutes = series.time_s / 60
    tokens = {"decoded": series.decoded_tokens_per_s, "prompt": series.prefill_tokens_per_s}
    return [
        _lines("Throughput", minutes, tokens, "tokens/s"),
        _lines("Queue", minutes, {"waiting": series.waiting}, "requests"),
        _lines("Batch", minutes, {"running": series.running}, "requests"),
        _lines("KV cache in use", minutes, {"in use": 100 * series.kv_usage}, "%", top=100.0),
        _lines("Adapter loads into slots", minutes, {"loads": series.adapter_loads_per_s}, "loads/s"),
    ]


def _lines(
    title: str,
    minutes: NDArray[np.float64],
    lines: Mapping[str, NDArray[np.float64]],
    unit: str,
    top: float | None = None,
) -> PageFigure:
    means = [
        f"{name}: mean {tidy(values.mean())}, most {tidy(values.max())} {unit}"
        for name, values in lines.items()
    ]
    legend = tuple((f"c{i}", name) for i, name in enumerate(means, start=1))
    svg = line_chart(
        f"{title} over time: {'; '.join(means)}", minutes, lines, unit=unit, top=top, least_top=1.0
    )
    return PageFigure(title, svg, legend)


def _distributions(report: Report) -> list[PageFigure]:
    chosen = {
        "Time to first token": (report.ttft_histogram, report.ttft_s),
        "Inter-token latency": (report.itl_histogram, report.itl_s),
        "End to end": (report.e2e_histogram, report.e2e_s),
    }
    return [
        _distribution(title, histogram, summary)
        for title, (histogram, summary) in chosen.items()
        if histogram.counts.sum() > 0
    ]


def _distribution(title: str, histogram: Histogram, summary: LatencySummary) -> PageFigure:
    marks = {"p50": summary.p50, "p90": summary.p90, "p99": summary.p99}
    spoken = ", ".join(f"{name} {seconds(value)}" for name, value in marks.items())
    svg = histogram_chart(f"{title}: {spoken}", histogram.edges_s, histogram.counts, marks)
    return PageFigure(title, svg, (("c1", f"mean {seconds(summary.mean)}, {spoken}"),))
