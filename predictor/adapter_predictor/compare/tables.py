"""The comparison as a table, and as a plain document."""

import math
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from adapter_predictor.compare.comparison import CaseResult, Comparison, Entry
from adapter_predictor.compare.contenders import CONTENDERS, OURS
from adapter_twin.plain import plain

NONE = "–"


def needs_table(comparison: Comparison) -> Table:
    """GPUs that contenders need on each workload."""
    table = _table("workload", "adapters", "req/s", "bound", "plan", "gap", *CONTENDERS)
    for case in comparison.cases:
        table.add_row(
            case.name,
            f"{case.adapters:,}",
            f"{case.rate:,.0f}",
            str(case.lower_bound),
            str(case.planned_gpus) + ("" if case.verified else "*"),
            f"{case.gap:.1%}",
            *(_need(case, name) for name in CONTENDERS),
        )
    return table


def equal_table(comparison: Comparison) -> Table:
    """What contenders do on as many GPUs as ours needs, over all workloads."""
    table = _table("contender", "GPUs in all", "starving", "served at worst", "ITL", "TTFT", "moves a day")
    for name in CONTENDERS:
        entries = [case.entries[name] for case in comparison.cases]
        table.add_row(
            name,
            _total(entries),
            f"{sum(entry.starving for entry in entries):,}",
            f"{min(entry.served_fraction for entry in entries):.1%}",
            f"{1e3 * _finite_mean([entry.itl_s for entry in entries]):.1f} ms",
            f"{_finite_mean([entry.ttft_s for entry in entries]):.2f} s",
            f"{_finite_mean([entry.moves_a_day for entry in entries]):.2f}",
        )
    return table


def summary(comparison: Comparison) -> str:
    """The gap in one sentence, and where a baseline needs fewer GPUs than ours."""
    text = f"Gap to the lower bound: median {comparison.median_gap:.1%}"
    if comparison.median_gap_of_large is not None:
        text += f", {comparison.median_gap_of_large:.1%} over workloads of 20 GPUs and more"
    lost = [f"{case.name} ({', '.join(better)})" for case in comparison.cases if (better := _better(case))]
    return (
        text
        + ". "
        + (
            f"A baseline needs fewer GPUs on {', '.join(lost)}."
            if lost
            else "No baseline needs fewer GPUs on any."
        )
    )


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values; numbers that are not finite are null."""
    content = asdict(comparison) | {
        "median_gap": comparison.median_gap,
        "median_gap_of_large": comparison.median_gap_of_large,
    }
    plain_values: dict[str, Any] = plain(content)
    return plain_values


def _better(case: CaseResult) -> list[str]:
    own = case.entries[OURS].gpus
    if own is None:
        return [name for name, entry in case.entries.items() if entry.gpus is not None]
    return [name for name, entry in case.entries.items() if entry.gpus is not None and entry.gpus < own]


def _need(case: CaseResult, name: str) -> str:
    gpus = case.entries[name].gpus
    if gpus is None:
        return NONE
    fewest = min(entry.gpus for entry in case.entries.values() if entry.gpus is not None)
    return f"[bold]{gpus}[/bold]" if gpus == fewest else str(gpus)


def _total(entries: list[Entry]) -> str:
    known = [entry.gpus for entry in entries if entry.gpus is not None]
    failed = len(entries) - len(known)
    return f"{sum(known):,}" + (f" + {failed} failed" if failed else "")


def _finite_mean(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _table(*columns: str) -> Table:
    table = Table(box=box.MARKDOWN, pad_edge=True)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    return table
