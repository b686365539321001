"""Scores as tables for people."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from adapter_twin.validation.document import Skipped
from adapter_twin.validation.memory import MemoryScores
from adapter_twin.validation.scores import FIGURES, Comparison, Scores, score, score_by_regime

_LISTED = 5


def print_scores(name: str, comparisons: Sequence[Comparison], memory: MemoryScores | None) -> None:
    """One profile's errors by regime and figure, to standard output."""
    total = score(comparisons)
    columns: dict[str, Scores] = {str(name): part for name, part in score_by_regime(comparisons).items()}
    columns["all"] = total
    table = Table(title=f"{name}: SMAPE (median bias)", title_justify="left")
    table.add_column("")
    for title, scores in columns.items():
        table.add_column(f"{title}\n{scores.ok} runs", justify="right", no_wrap=True)
    for figure in FIGURES:
        table.add_row(figure, *(_cell(scores, figure) for scores in columns.values()))
    console = Console()
    console.print(table)
    console.print(_verdicts(total, memory) + "\n")


def print_skipped(skipped: Sequence[Skipped]) -> None:
    """The first rows that are left out, to standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for item in skipped[:_LISTED]:
        console.print(f"skipped: {item.table} line {item.line} ({item.run}): {item.reason}", markup=False)
    if len(skipped) > _LISTED:
        console.print(f"skipped: {len(skipped) - _LISTED} more rows; --json lists them all", markup=False)


def _cell(scores: Scores, figure: str) -> str:
    error, bias = scores.smape[figure], scores.bias[figure]
    return f"{error:.2f} ({bias:+.1f}%)" if math.isfinite(error) else "–"


def _verdicts(total: Scores, memory: MemoryScores | None) -> str:
    starvation = f"starvation macro-F1 {total.starvation_macro_f1:.3f}; " if total.ok else ""
    text = f"{starvation}memory verdict right in {total.oom_accuracy:.2%} of {total.rows} runs"
    if memory is None or not memory.rows:
        return text
    return (
        f"{text} and in {memory.oom_accuracy:.2%} of {memory.rows} configurations; KV capacity within "
        f"{memory.worst_percent:.2f} % (mean {memory.mean_percent:.2f} %)"
    )
