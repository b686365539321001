"""`adaptwin predictor evaluate`: predictors against runs, and optima, that they have not seen."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adapter_predictor.artifact import prediction_hash
from adapter_predictor.errors import DatasetError, PredictionError
from adapter_predictor.options import ArtifactOption, predictor_of
from adapter_predictor.predictor import Predictor, TreePredictor
from adapter_predictor.training.backends import Workers
from adapter_predictor.training.comparison import read_grids
from adapter_predictor.training.dataset import read_dataset
from adapter_predictor.training.evaluation import against_twin, comparison_scores, measured_scores
from adapter_predictor.training.progress import counted
from adapter_predictor.training.tables import optima_table, twin_table
from adapter_predictor.training.twin_optima import twin_comparisons
from adapter_twin.outputs import require_writable, write_text
from adapter_twin.profile import available_profiles, load_profile

_console = Console()
_errors = Console(stderr=True)


def evaluate(
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Name or file; all shipped ones if it is not given.")
    ] = None,
    artifact: ArtifactOption = None,
    folder: Annotated[
        Path | None,
        typer.Option("--dataset", help="Compare with these runs of the twin, drawn by another seed."),
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(help="Compare with the optima of this table of measured runs.")
    ] = None,
    mixes: Annotated[
        int, typer.Option(min=0, help="Compare with the twin's own optima of so many random mixes.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of those mixes.")] = 1,
    jobs: Annotated[int, typer.Option(help="Runs of the twin at once; -1 for all cores.")] = 1,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the scores here.")] = None,
) -> None:
    """Score predictors against runs of the twin that they have not seen, and against measured optima."""
    if folder is None and measured is None and not mixes:
        raise PredictionError("evaluate: give --dataset, --measured, or --mixes")
    if output is not None:
        require_writable(output, "json")
    predictors = _predictors(profile, artifact)
    scores: dict[str, Any] = {}
    if folder is not None:
        scores["twin"] = _against_runs(folder, predictors)
    if mixes:
        scores["mixes"] = _against_mixes(predictors, mixes, seed, Workers(jobs))
    if measured is not None:
        scores.update(_against_measured(measured, predictors, only=profile is not None))
    if output is not None:
        write_text(output, json.dumps(scores, indent=2, allow_nan=False) + "\n")


def _predictors(profile: str | None, artifact: Path | None) -> dict[str, Predictor]:
    """Predictors by the name of their model."""
    profiles = [load_profile(name) for name in ([profile] if profile else available_profiles())]
    return {one.model.name: predictor_of(one, artifact) for one in profiles if one.engine.kind == "vllm"}


def _against_runs(folder: Path, predictors: dict[str, Predictor]) -> dict[str, Any]:
    compared = read_dataset(folder)
    name = compared.manifest.profile
    chosen = next((one for one in predictors.values() if one.profile.name == name), None)
    if chosen is None:
        raise DatasetError(f"dataset: it is of {name}, which is not evaluated here")
    if compared.manifest.profile_hash != prediction_hash(chosen.profile):
        raise DatasetError(f"dataset: {folder} was made with another version of {name}; make it anew")
    if isinstance(chosen, TreePredictor) and compared.manifest.seed in _seeds(chosen):
        _errors.print(f"warning: {folder} has the seed that the trees were trained on: no fair test")
    twin = against_twin(compared, chosen)
    _console.print(twin_table(twin, chosen))
    return asdict(twin)


def _seeds(predictor: TreePredictor) -> set[int]:
    """The seeds of the profile's runs that its trees were trained on."""
    used = predictor.artifact.datasets
    return {dataset.seed for dataset in used if dataset.profile == predictor.profile.name}


def _against_mixes(
    predictors: dict[str, Predictor], mixes: int, seed: int, workers: Workers
) -> dict[str, Any]:
    found = []
    with counted("mixes put to the twin", mixes * len(predictors)) as tell:
        for predictor in predictors.values():
            for comparison in twin_comparisons(predictor, mixes, seed, workers):
                found.append(comparison)
                tell(len(found))
    scores = comparison_scores(sorted(found, key=lambda one: one.combination))
    _console.print(optima_table(scores, "predicted (found by the twin)"))
    return scores


def _against_measured(measured: Path, predictors: dict[str, Predictor], *, only: bool) -> dict[str, Any]:
    """Scores of every combination of the table; of the models asked for only, where one is."""
    grids = read_grids(measured)
    if only:
        grids = [grid for grid in grids if grid.model in predictors]
    unknown = sorted({grid.model for grid in grids} - predictors.keys())
    for model in unknown:
        _errors.print(f"warning: no profile of {model} is known, so its combinations count as missed")
    if not grids:
        raise PredictionError(f"measured: {measured.name} has no placement runs of {', '.join(predictors)}")
    scores = measured_scores(grids, predictors)
    _console.print(optima_table(scores, "predicted (measured)"))
    return scores
