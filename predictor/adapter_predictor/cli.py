"""`adaptwin predictor`: make a dataset with the twin, train trees, score them, explain them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from adapter_predictor.artifact import Artifact, read_artifact
from adapter_predictor.errors import DatasetError, PredictionError
from adapter_predictor.load import ReplicaLoad
from adapter_predictor.physics import HORIZON_S
from adapter_predictor.predictor import Predictor, TreePredictor
from adapter_predictor.training.card import described_tree, plot_tree
from adapter_predictor.training.dataset import generate, read_dataset
from adapter_predictor.training.evaluation import against_twin, measured_scores
from adapter_predictor.training.tables import depth_table, optima_table, score_table, twin_table
from adapter_twin.measurements.tables import read_runs
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.outputs import require_image, require_writable
from adapter_twin.profile import Profile, available_profiles, load_profile

app = typer.Typer(
    name="predictor",
    help="Train, evaluate and explain the predictor.",
    no_args_is_help=True,
    add_completion=False,
)

ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", help="Name of a shipped profile, or a profile's file.")
]
ArtifactOption = Annotated[
    Path | None, typer.Option("--artifact", "-a", help="The artifact; the shipped one if it is not given.")
]

_console = Console()


@app.command()
def dataset(
    profile: ProfileOption,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the dataset; one that was begun goes on.")],
    samples: Annotated[int, typer.Option(min=1, help="Runs of the twin that it shall hold.")] = 3000,
    seed: Annotated[int, typer.Option(help="Of loads and arrivals.")] = 0,
    horizon: Annotated[float, typer.Option(min=1.0, help="Simulated seconds of each run.")] = HORIZON_S,
    jobs: Annotated[int, typer.Option(help="Runs at once; -1 for all cores.")] = 1,
    backend: Annotated[
        str | None, typer.Option(help="joblib's backend: loky, threading, dask, ray, … (registered ones).")
    ] = None,
) -> None:
    """Run the twin on sampled loads; a run that was killed goes on where it stopped."""
    if jobs == 0:
        raise DatasetError("jobs: 0 is not allowed; give a number of at least 1, or -1 for all cores")
    known = sorted({*BACKENDS, *EXTERNAL_BACKENDS})
    if backend is not None and backend not in known:
        raise DatasetError(f"backend: joblib knows no {backend!r}; it knows {', '.join(known)}")
    runs = generate(
        load_profile(profile),
        folder,
        samples=samples,
        seed=seed,
        horizon_s=horizon,
        jobs=jobs,
        backend=backend,
    )
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_console,
    ) as progress:
        bar = progress.add_task("runs of the twin", total=samples)
        for done in runs:
            progress.update(bar, completed=done)
    _console.print(f"{folder}: {samples:,} runs")


@app.command()
def train(
    profile: ProfileOption,
    folder: Annotated[Path, typer.Option("--dataset", help="Folder of the dataset.")],
    out: Annotated[Path, typer.Option(help="File of the artifact.")],
) -> None:
    """Fit one tree for each target and write them as an artifact."""
    try:
        from adapter_predictor.training.fit import train as fit  # noqa: PLC0415 - scikit-learn is an extra
    except ImportError as error:
        raise DatasetError("training: scikit-learn is missing; install adaptwin[train]") from error
    require_writable(out, "out")
    artifact = fit(read_dataset(folder), load_profile(profile))
    out.write_text(artifact.to_json(), encoding="utf-8")
    _console.print(score_table(artifact))
    _console.print(depth_table(artifact))
    _console.print(f"{out}: {out.stat().st_size:,} bytes")


@app.command()
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
    output: Annotated[Path | None, typer.Option("--json", help="Also write the scores here.")] = None,
) -> None:
    """Score predictors against runs of the twin that they have not seen, and against measured optima."""
    if folder is None and measured is None:
        raise PredictionError("evaluate: give --dataset, --measured, or both")
    profiles = [load_profile(name) for name in ([profile] if profile else available_profiles())]
    predictors = {one.model.name: _predictor(one, artifact) for one in profiles}
    scores: dict[str, object] = {}
    if folder is not None:
        compared = read_dataset(folder)
        chosen = next((p for p in predictors.values() if p.profile.name == compared.manifest.profile), None)
        if chosen is None:
            raise DatasetError(f"dataset: it is of {compared.manifest.profile}, which is not evaluated here")
        twin = against_twin(compared, chosen)
        scores["twin"] = asdict(twin)
        _console.print(twin_table(twin, chosen))
    if measured is not None:
        found = measured_scores(read_runs(measured), predictors)
        scores.update(found)
        _console.print(optima_table(found))
    if output is not None:
        output.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


@app.command()
def explain(
    profile: ProfileOption,
    artifact: ArtifactOption = None,
    adapters: Annotated[int | None, typer.Option(min=1, help="Adapters on the replica.")] = None,
    rates: Annotated[str, typer.Option(help="Requests/s of the adapters, cycling: 0.4,0.05,0.00625")] = "0.1",
    max_loras: Annotated[int, typer.Option(min=1, help="Adapter slots.")] = 32,
    max_lora_rank: Annotated[int, typer.Option(help="Rank of the slots.")] = 16,
    served: Annotated[float, typer.Option(min=0.0, max=1.0, help="Served fraction to ask flips for.")] = 0.95,
    plot: Annotated[Path | None, typer.Option(help="Draw the tree here (.svg, .png, .pdf).")] = None,
) -> None:
    """Print the tree of the served fraction, and for a given load its decision in words."""
    if plot is not None:
        require_image(plot, "plot")
    predictor = _predictor(load_profile(profile), artifact)
    load = None
    if adapters is not None:
        load = _load(predictor.profile, rates, adapters, max_loras, max_lora_rank)
    if isinstance(predictor, TreePredictor):
        _print_tree(predictor.artifact)
        if plot is not None:
            plot_tree(predictor.artifact, "served_fraction", plot)
            _console.print(f"{plot}: the tree, drawn")
    if load is not None:
        _print_explanation(predictor, load, served)


def _predictor(profile: Profile, artifact: Path | None) -> Predictor:
    if artifact is None:
        return Predictor.for_profile(profile)
    return TreePredictor(profile, read_artifact(artifact))


def _load(profile: Profile, rates: str, adapters: int, max_loras: int, max_lora_rank: int) -> ReplicaLoad:
    if max_lora_rank not in ALLOWED_LORA_RANKS:
        allowed = ", ".join(map(str, ALLOWED_LORA_RANKS))
        raise PredictionError(f"max_lora_rank: {max_lora_rank} is not one of {allowed}")
    lengths = profile.workload_defaults
    try:
        cycle = [float(rate) for rate in rates.replace(",", " ").split()]
    except ValueError as error:
        raise PredictionError(f"rates: {rates!r} is not a list of numbers") from error
    if not cycle:
        raise PredictionError("rates: at least one rate is needed")
    cycled = tuple(cycle[i % len(cycle)] for i in range(adapters))
    return ReplicaLoad(cycled, lengths.prompt.mean, lengths.output.mean, max_loras, max_lora_rank)


def _print_tree(artifact: Artifact) -> None:
    model = artifact.targets["served_fraction"]
    scores = model.scores
    _console.print(
        f"Served fraction, the tree to read (mean error {scores.simple_mean_absolute_error:.3f}; "
        f"the full tree's, with {model.tree.tree().leaf_count} leaves, is {scores.mean_absolute_error:.3f}):"
    )
    for line in described_tree(model.simple.tree(), model.scale):
        _console.print(line, highlight=False)


def _print_explanation(predictor: Predictor, load: ReplicaLoad, served: float) -> None:
    memory = predictor.memory(load.max_loras, load.max_lora_rank)
    if not memory.fits:
        _console.print(f"Does not fit: {memory.reason}.")
        return
    said = predictor.predict(load)
    told = predictor.explain(load, served)
    _console.print(
        f"\n{len(load.rates)} adapters at {load.rate:.3g} req/s on {load.max_loras} slots of rank "
        f"{load.max_lora_rank}, predicted by {predictor.source}:\n"
        f"  served fraction {said.served_fraction:.1%} (at worst {said.served_fraction_low:.1%}), "
        f"{said.throughput_tokens_per_s:,.0f} tokens/s, inter-token latency {1e3 * said.itl_s:.0f} ms, "
        f"time to first token {said.ttft_s:.3g} s\nbecause",
        highlight=False,
    )
    for clause in told.path:
        _console.print(f"  - {clause}", highlight=False)
    _console.print(f"Nearest flip (served fraction {served:.0%}): {told.nearest_flip}.", highlight=False)
    for warning in told.warnings:
        _console.print(f"Warning: {warning}", highlight=False)
