"""Scores as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from adapter_predictor.artifact import Artifact
from adapter_predictor.predictor import Predictor
from adapter_predictor.training.evaluation import TwinScores


def score_table(artifact: Artifact) -> Table:
    """Scores of an artifact's trees, target by target."""
    table = Table(title=f"{artifact.profile}: out-of-fold scores on {artifact.dataset.samples:,} runs")
    for column in (
        "target",
        "depth",
        "leaves",
        "MAE",
        "SMAPE %",
        "closed form %",
        "8 leaves: MAE",
        "in bound",
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
            f"{scores.bound_coverage:.0%}",
        )
    return table


def depth_table(artifact: Artifact) -> Table:
    """What every depth would be worth."""
    table = Table(title="Depth against accuracy (out-of-fold mean absolute error)")
    table.add_column("depth", justify="right")
    for name in artifact.targets:
        table.add_column(name, justify="right")
    rows = zip(*(model.scores.by_depth for model in artifact.targets.values()), strict=True)
    for scores in rows:
        table.add_row(
            str(scores[0].depth), *(f"{one.mean_absolute_error:.4g} ({one.leaves} leaves)" for one in scores)
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
    table.add_row("… where it is 0.85 to 0.98", f"{scores.edge_mean_absolute_error:.4f}")
    table.add_row("starvation macro-F1", f"{scores.starvation_macro_f1:.3f}")
    table.add_row("runs above the pessimistic bound", f"{scores.pessimistic_coverage:.1%}")
    return table


def optima_table(found: Mapping[str, Any]) -> Table:
    """Predicted optima beside the measured ones."""
    table = Table(
        title="Most adapters of one replica without starvation: predicted (measured)",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    errors = ("SMAPE adapters", "SMAPE tokens/s", "regret")
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
    return f"{predicted} ({measured})"
