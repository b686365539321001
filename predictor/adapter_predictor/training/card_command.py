"""`adaptwin predictor card`: an artifact's model card, with its pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from adapter_predictor.artifact import TARGETS
from adapter_predictor.drawing import plot_tree
from adapter_predictor.errors import PredictionError
from adapter_predictor.options import ArtifactOption, ProfileOption, predictor_of
from adapter_predictor.predictor import Predictor, TreePredictor
from adapter_predictor.training.backends import Workers
from adapter_predictor.training.comparison import read_grids
from adapter_predictor.training.dataset import Dataset, read_dataset
from adapter_predictor.training.evaluation import against_twin, comparison_scores, measured_scores
from adapter_predictor.training.model_card import Evidence, card
from adapter_predictor.training.progress import counted
from adapter_predictor.training.twin_optima import twin_comparisons
from adapter_twin.outputs import write_text
from adapter_twin.profile import load_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIXES_SEED = 1

_console = Console()


def model_card(
    profile: ProfileOption,
    out: Annotated[Path, typer.Option(help="Folder for PROFILE.md and its pictures.")],
    artifact: ArtifactOption = None,
    trained: Annotated[
        Path | None, typer.Option("--dataset", help="Folder of the runs that it was trained on.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Folder of runs that it was not trained on, of another seed.")
    ] = None,
    measured: Annotated[Path | None, typer.Option(help="Table of measured runs.")] = None,
    mixes: Annotated[int, typer.Option(min=0, help="Random mixes whose optimum the twin is asked for.")] = 0,
    jobs: Annotated[int, typer.Option(help="Runs of the twin at once; -1 for all cores.")] = 1,
) -> None:
    """Write an artifact's model card: data, scores, the tree to read, where it is least sure."""
    predictor = predictor_of(load_profile(profile), artifact)
    if not isinstance(predictor, TreePredictor):
        raise PredictionError(f"card: {predictor.profile.name} has no trees of its own")
    out.mkdir(parents=True, exist_ok=True)
    unseen = None if held_out is None else read_dataset(held_out)
    evidence = Evidence(
        trained=None if trained is None else read_dataset(trained),
        held_out=None if unseen is None else against_twin(unseen, predictor),
        measured=None if measured is None else _measured(measured, predictor),
        mixes=_mixes(predictor, mixes, Workers(jobs)) if mixes else None,
    )
    pictures = {"The small tree of the served fraction": _draw_tree(predictor, out)}
    if unseen is not None:
        pictures["Residuals on runs that no tree has seen"] = _draw_residuals(predictor, unseen, out)
    name = predictor.artifact.profile
    command = f"adaptwin predictor card -p {name} --dataset … --held-out … --measured … --mixes {mixes}"
    write_text(out / f"{name}.md", card(predictor.artifact, evidence, command, pictures))
    _console.print(f"{out / name}.md")


def _measured(path: Path, predictor: Predictor) -> dict[str, Any] | None:
    model = predictor.profile.model.name
    grids = [grid for grid in read_grids(path) if grid.model == model]
    return measured_scores(grids, {model: predictor}) if grids else None


def _mixes(predictor: Predictor, mixes: int, workers: Workers) -> dict[str, Any]:
    found = []
    with counted("mixes put to the twin", mixes) as tell:
        for comparison in twin_comparisons(predictor, mixes, MIXES_SEED, workers):
            found.append(comparison)
            tell(len(found))
    return comparison_scores(sorted(found, key=lambda one: one.combination))


def _draw_tree(predictor: TreePredictor, out: Path) -> str:
    simple = predictor.artifact.targets["served_fraction"].simple
    file = f"{predictor.artifact.profile}-tree.svg"
    plot_tree(simple.tree.tree(), simple.scale, f"{predictor.artifact.profile}: served fraction", out / file)
    return file


def _draw_residuals(predictor: TreePredictor, unseen: Dataset, out: Path) -> str:
    """What the trees miss by, over what they say, for each target."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra: only plots need it
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9.0, 6.5), layout="constrained")
    said = predictor.predict_batch(unseen.loads)
    for axes, name in zip(figure.subplots(2, 2).flat, TARGETS, strict=True):
        target = unseen.target(name)
        known = np.isfinite(target)
        _scatter(axes, getattr(said, name)[known], target[known], name)
    file = f"{predictor.artifact.profile}-residuals.svg"
    with mpl.rc_context({"svg.hashsalt": "adaptwin"}):
        figure.savefig(out / file, metadata={"Date": None})
    return file


def _scatter(axes: "Axes", said: Any, target: Any, name: str) -> None:
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    error = 100.0 * (said - target) / (said + target)
    axes.scatter(said, error, s=6, alpha=0.5, color="#1d4ed8", linewidths=0)
    axes.set_xlabel(f"predicted {name.replace('_', ' ')}", fontsize=8)
    axes.set_ylabel("predicted − twin, % of their sum", fontsize=8)
    axes.tick_params(labelsize=7)
    if name == "ttft_s":
        axes.set_xscale("log")
