"""Scores as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from rich import box
from rich.table import Table

from adapter_predictor.artifact import Artifact, Coverage
from adapter_predictor.predictor import Predictor
from adapter_predictor.training.dataset import Dataset
from adapter_predictor.training.evaluation import TwinScores

HISTOGRAM: Final = (0.0, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.01)
"""Served fractions at which the bins of a dataset's histogram begin, and the last one ends."""


def score_table(artifact: Artifact) -> Table:
    """Scores of an artifact's trees, target by target."""
    table = Table(title=f"{artifact.profile}: out-of-fold scores on {artifact.samples:,} runs")
    for column in (
        "target",
        "depth",
        "leaves",
        "MAE",
        "SMAPE %",
        "closed form %",
        "small tree: MAE",
        f"in the {artifact.bound_percent:.0f} % bound",
    ):
        table.add_column(column, justify="left" if column == "target" else "right")
    for name, model in artifact.targets.items():
        tree, scores = model.tree.tree(), model.scores
        table.add_row(
            name,
            str(tree.depth),
            str(tree.leaf_count),
            f"{scores.mean_absolute_error:.4g}",
            f"{scores.smape_percent:.2f}",
            f"{scores.physics_smape_percent:.2f}",
            f"{scores.simple_mean_absolute_error:.4g}",
            f"{_covered(scores.coverage, artifact.bound_percent):.1f} %",
        )
    return table


def _covered(coverage: Sequence[Coverage], nominal: float) -> float:
    """Empirical coverage of a nominal one."""
    return next(one.percent for one in coverage if one.nominal_percent == nominal)


def histogram_table(dataset: Dataset) -> Table:
    """How many runs serve how much: most should be at the edge of starvation."""
    table = Table(title="Served fraction of the runs")
    table.add_column("from")
    table.add_column("runs", justify="right")
    counts, edges = np.histogram(dataset.target("served_fraction"), HISTOGRAM)
    for lower, count in zip(edges, counts, strict=False):
        table.add_row(f"{lower:.2f}", f"{count:,}")
    return table


def depth_table(artifact: Artifact) -> Table:
    """What every depth would be worth."""
    table = Table(title="Depth against accuracy: out-of-fold mean absolute error (leaves)")
    table.add_column("depth", justify="right")
    for name in artifact.targets:
        table.add_column(name, justify="right")
    rows = zip(*(model.scores.by_depth for model in artifact.targets.values()), strict=True)
    for scores in rows:
        table.add_row(
            str(scores[0].depth), *(f"{one.mean_absolute_error:.4g} ({one.leaves})" for one in scores)
        )
    return table


def twin_table(scores: TwinScores, predictor: Predictor) -> Table:
    """Errors against runs of the twin."""
    table = Table(title=f"{predictor.profile.name} against {scores.samples:,} runs of the twin")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in scores.smape_percent.items():
        table.add_row(f"{name} SMAPE", f"{value:.2f}%")
    table.add_row("served fraction, mean error", f"{scores.served_mean_absolute_error:.4f}")
    if scores.edge_mean_absolute_error is not None:
        table.add_row("… where it is 0.85 to 0.98", f"{scores.edge_mean_absolute_error:.4f}")
    table.add_row("starvation macro-F1", f"{scores.starvation_macro_f1:.3f}")
    for name, percent in scores.coverage_percent.items():
        table.add_row(f"{name}: runs within the pessimistic bound", f"{percent:.1f}%")
    return table


def optima_table(found: Mapping[str, Any], what: str) -> Table:
    """Predicted optima beside the true ones; `what` says where those come from."""
    table = Table(
        title=f"Most adapters of one replica without starvation: {what}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    errors = ("SMAPE\nadapters", "SMAPE\ntokens/s", "regret")
    columns = ("combination", "adapters", "slots", "tokens/s", *errors)
    for column in columns:
        left = column == "combination"
        table.add_column(column, justify="left" if left else "right", no_wrap=left, overflow="fold")
    for name, one in found["by_combination"].items():
        cells = [_pair(one, figure) for figure in ("adapters", "max_loras", "throughput")]
        table.add_row(_label(name), *cells, *(f"{one[figure]:.1f}%" for figure in found["overall"]))
    table.add_row("mean", "", "", "", *(f"{value:.1f}%" for value in found["overall"].values()))
    return table


def _label(combination: str) -> str:
    """`model/rate_a-b-c_size_x-y-z` on two lines: the model, and its adapters' rates."""
    model, _, rest = combination.partition("/")
    return f"{model}\n{rest.removeprefix('rate_').partition('_size_')[0]}"


def _pair(one: Mapping[str, Any], figure: str) -> str:
    predicted, measured = (
        "none" if one[side] is None else f"{one[side][figure]:,.0f}" for side in ("predicted", "measured")
    )
    return f"{predicted}\n({measured})"
