"""The comparison as one picture: what contenders need, and what starves on equal GPUs."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adapter_predictor.compare.comparison import Comparison
from adapter_predictor.compare.contenders import CONTENDERS, OURS

_COLOURS = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#14b8a6", "#64748b")
_MARKERS = ("o", "s", "^", "v", "D", "P", "X")
_MOST_SHOWN = 2.5


def draw(comparison: Comparison, path: Path) -> None:
    """Write the picture; the suffix says in which format."""
    figure = Figure(figsize=(11.0, 4.8), layout="constrained")
    needs, starving = figure.subplots(1, 2, sharey=True)
    names = [f"{case.name} ({case.lower_bound})" for case in comparison.cases]
    _needs(needs, comparison)
    _starving(starving, comparison)
    needs.set_yticks(range(len(names)), names)
    needs.invert_yaxis()
    handles, labels = needs.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(CONTENDERS), frameon=False, fontsize=9
    )
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _needs(axis: Axes, comparison: Comparison) -> None:
    axis.axvline(1.0, color="#64748b", lw=1.0)
    for place, (name, colour, marker) in enumerate(zip(CONTENDERS, _COLOURS, _MARKERS, strict=True)):
        shift = 0.09 * (place - 3)
        ratios = [(case.entries[name].gpus or float("inf")) / case.lower_bound for case in comparison.cases]
        shown = [min(ratio, _MOST_SHOWN) for ratio in ratios]
        rows = [row + shift for row in range(len(shown))]
        size = 52 if name == OURS else 26
        axis.scatter(shown, rows, s=size, color=colour, marker=marker, label=name, zorder=3)
    axis.set(
        title="GPUs needed, over the lower bound (in brackets)",
        xlabel=f"ratio; at {_MOST_SHOWN:g}: that or more, or no number does",
    )
    axis.grid(axis="y", alpha=0.25)


def _starving(axis: Axes, comparison: Comparison) -> None:
    for place, (name, colour, marker) in enumerate(zip(CONTENDERS, _COLOURS, _MARKERS, strict=True)):
        rows = [row + 0.09 * (place - 3) for row in range(len(comparison.cases))]
        parts = [100.0 * case.entries[name].starving / case.adapters for case in comparison.cases]
        axis.scatter(parts, rows, s=52 if name == OURS else 26, color=colour, marker=marker, zorder=3)
    axis.set(title="adapters starving on as many GPUs as ours needs", xlabel="% of the adapters")
    axis.grid(axis="y", alpha=0.25)
