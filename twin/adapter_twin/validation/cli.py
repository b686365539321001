"""`adaptwin twin validate`: the errors of profiles against measured runs."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from adapter_twin.measurements.folder import DEFAULT_FOLDER, ENVIRONMENT_VARIABLE, MeasurementFolder
from adapter_twin.measurements.measures import REGIMES
from adapter_twin.outputs import require_image
from adapter_twin.profile import Profile, available_profiles, load_profile
from adapter_twin.validation.memory import MemoryScores, score_memory
from adapter_twin.validation.plots import Validated, plot_validation
from adapter_twin.validation.runs import ArrivalSource, predict_runs
from adapter_twin.validation.scores import FIGURES, Scores, score


def validate(
    profile: Annotated[
        list[str] | None, typer.Option(help="Name or JSON file; repeatable. [default: all shipped profiles]")
    ] = None,
    measurements: Annotated[
        Path, typer.Option(envvar=ENVIRONMENT_VARIABLE, help="Folder of measurement tables.")
    ] = DEFAULT_FOLDER,
    arrivals: Annotated[
        str, typer.Option(help="`measured`: the runs' own arrivals; `fresh`: new ones from the seed.")
    ] = "measured",
    seed: Annotated[int, typer.Option(help="Seed of the token lengths, and of fresh arrivals.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Runs simulated at the same time.")] = 2,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th run only, for a quick look.")] = 1,
    output: Annotated[str, typer.Option("--output", "-o", help="table | json")] = "table",
    plot: Annotated[Path | None, typer.Option(help="Write predicted against measured (.svg, .png).")] = None,
) -> None:
    """Compare profiles with measured runs: throughput, latencies, starvation and memory verdicts.

    SMAPE is in 0-100 as in docs/measurements.md; bias is the median of predicted over measured, less one.
    """
    if arrivals not in ("measured", "fresh"):
        raise typer.BadParameter(f"{arrivals!r} is not one of measured, fresh", param_hint="--arrivals")
    if output not in ("table", "json"):
        raise typer.BadParameter(f"{output!r} is not one of table, json", param_hint="--output")
    if plot is not None:
        require_image(plot, "plot")
    folder = MeasurementFolder(measurements)
    source: ArrivalSource = "fresh" if arrivals == "fresh" else "measured"
    profiles = [load_profile(name) for name in profile or available_profiles()]
    validated = [_validate(item, folder, source, seed, threads, every) for item in profiles]
    memory = [score_memory(item, folder.kv_capacity(item.model.name)) for item in profiles]
    scores = [score(item.runs, item.predictions) for item in validated]
    if output == "json":
        typer.echo(_json(profiles, scores, memory))
    else:
        for item, figures, verdicts in zip(profiles, scores, memory, strict=True):
            _print(item, figures, verdicts)
    if plot is not None:
        plot_validation(validated, plot)
        typer.echo(f"wrote {plot}", err=True)


def _validate(
    profile: Profile, folder: MeasurementFolder, source: ArrivalSource, seed: int, threads: int, every: int
) -> Validated:
    runs = folder.runs(profile.model.name)[::every]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{profile.name}", total=len(runs))
        predictions = []
        for prediction in predict_runs(runs, profile, source, seed, threads):
            predictions.append(prediction)
            progress.advance(task)
    return Validated(profile.name, runs, predictions)


def _print(profile: Profile, scores: Scores, memory: MemoryScores) -> None:
    table = Table(title=f"{profile.name}: SMAPE (median bias)", title_justify="left")
    table.add_column("")
    for name in (*REGIMES, "all"):
        table.add_column(f"{name}\n{scores.rows[name]} runs", justify="right", no_wrap=True)
    for figure in FIGURES:
        errors, bias = scores.smape[figure], scores.bias[figure]
        cells = [f"{errors[name]:.2f} ({bias[name]:+.1f}%)" for name in (*REGIMES, "all")]
        table.add_row(figure, *cells)
    console = Console()
    console.print(table)
    console.print(
        f"starvation macro-F1 {scores.starvation_macro_f1:.3f}; "
        f"memory verdict right in {scores.oom_accuracy:.2%} of the runs and {memory.oom_accuracy:.2%} of "
        f"{memory.rows} configurations; KV capacity within {memory.worst_percent:.2f} % "
        f"(mean {memory.mean_percent:.2f} %)\n"
    )


def _json(profiles: list[Profile], scores: list[Scores], memory: list[MemoryScores]) -> str:
    content = {
        profile.name: dataclasses.asdict(figures) | {"memory": dataclasses.asdict(verdicts)}
        for profile, figures, verdicts in zip(profiles, scores, memory, strict=True)
    }
    return json.dumps(content, indent=2)
