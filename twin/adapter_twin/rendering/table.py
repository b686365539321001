"""A report in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from adapter_twin.rendering.figures import headline, latencies, percent, seconds, totals, worst_adapters
from adapter_twin.report import Status

if TYPE_CHECKING:
    from rich.console import Console

    from adapter_twin.report import Report


def print_report(console: Console, report: Report, starvation_threshold: float) -> None:
    """Headline, totals, latencies, and the adapters that starve."""
    console.print(f"[bold]{headline(report)}[/bold]")
    if report.status is Status.OUT_OF_MEMORY:
        return
    console.print(_totals(report))
    console.print(_latencies(report))
    starving = report.starving_adapters(starvation_threshold)
    if starving:
        console.print(
            f"{len(starving)} of {len(report.per_adapter.names)} adapters starve "
            f"(served below {percent(starvation_threshold)}); the worst:"
        )
        console.print(_worst(report))


def _totals(report: Report) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for row in totals(report):
        table.add_row(*row)
    return table


def _latencies(report: Report) -> Table:
    table = Table("", "mean", "p50", "p90", "p99", box=None)
    for name, summary in latencies(report):
        values = (summary.mean, summary.p50, summary.p90, summary.p99)
        table.add_row(name, *(seconds(value) for value in values))
    return table


def _worst(report: Report) -> Table:
    table = Table("adapter", "served", "completed", "offered", box=None)
    for name, fraction, completed, offered in worst_adapters(report):
        table.add_row(name, percent(fraction), f"{completed:,}", f"{offered:,}")
    return table
