"""A transition in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from adapter_twin.fleet.figures import completion, headline, intervals, totals, worst_adapters
from adapter_twin.rendering.figures import percent

if TYPE_CHECKING:
    from rich.console import Console

    from adapter_twin.fleet.comparison import Comparison
    from adapter_twin.fleet.figures import Objectives

STARVING_STYLE = "red"


def print_comparison(
    console: Console,
    comparison: Comparison,
    objectives: Objectives,
    rollout_at_s: float | None,
    rows: int,
) -> None:
    """Verdict, totals, both over time, and the adapters that suffer most from the change."""
    console.print(f"[bold]{headline(comparison, objectives)}[/bold]")
    if took := completion(comparison, rollout_at_s):
        console.print(took)
    console.print(_totals(comparison, objectives))
    console.print(_over_time(comparison, objectives, rows))
    if worst := worst_adapters(comparison, objectives):
        table = Table("adapter", "starving", "if staying", "without a copy", box=None)
        for name, *seconds in worst:
            table.add_row(escape(name), *(f"{value:,.0f} s" for value in seconds))
        console.print("Adapters that starve longest while changing:", table, sep="\n")


def _totals(comparison: Comparison, objectives: Objectives) -> Table:
    table = Table("", "changing", "staying", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for pair in totals(comparison, objectives):
        table.add_row(pair.name, pair.transition, pair.staying)
    return table


def _over_time(comparison: Comparison, objectives: Objectives, rows: int) -> Table:
    names = ("minute", "replicas", "offered", "served", "staying", "starving", "staying", "no copy")
    table = Table(*names, box=None, title="Over time", title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for row in intervals(comparison, objectives, rows):
        table.add_row(
            f"{row.start_s / 60:,.0f}",
            f"{row.replicas}",
            f"{row.offered_tokens_per_s:,.0f} tok/s",
            *(percent(fraction) for fraction in row.served),
            *(_count(count) for count in row.starving),
            _count(row.unavailable[0]),
        )
    return table


def _count(adapters: int) -> str:
    return f"[{STARVING_STYLE}]{adapters}[/{STARVING_STYLE}]" if adapters else "–"
