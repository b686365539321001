"""`adaptwin twin validate`: the errors of profiles against measured runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from adapter_twin.errors import AdaptwinError
from adapter_twin.measurements.folder import DEFAULT_FOLDER, ENVIRONMENT_VARIABLE, MeasurementFolder
from adapter_twin.measurements.tables import Microbenchmark, read_any_runs
from adapter_twin.outputs import require_image, require_writable, write_text
from adapter_twin.profile import Profile
from adapter_twin.profile.store import available_profiles, available_slora_profiles, load_any_profile
from adapter_twin.validation.document import Skipped, validation_json
from adapter_twin.validation.memory import MemoryScores, score_memory
from adapter_twin.validation.plots import plot_validation
from adapter_twin.validation.runs import ArrivalSource, Prediction
from adapter_twin.validation.scores import Comparison, compare
from adapter_twin.validation.subjects import Drawing, Subject, subjects_of
from adapter_twin.validation.text import print_scores, print_skipped

_FRESH_DRAWS = 3


def validate(
    file: Annotated[
        Path | None,
        typer.Argument(help="Table of measured runs, in CSV.", show_default="those of the folder"),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write all scores to this file: overall, by model, by regime.")
    ] = None,
    arrivals: Annotated[
        str,
        typer.Option(
            help="`client-seed0`: as the measured client drew them; `fresh`: new ones, from several seeds."
        ),
    ] = "client-seed0",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="First seed of token lengths and fresh arrivals.", show_default="0; fresh: 1"
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1, help="Seeds per run, of which the mean is predicted.", show_default="1; fresh: 3"
        ),
    ] = None,
    cross_validate: Annotated[
        bool,
        typer.Option(
            "--cross-validate",
            help="Predict each combination of adapter rates (S-LoRA: of adapters) by a profile refitted "
            "without its runs. Takes some ten minutes of a core for both models of vLLM.",
        ),
    ] = False,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="Name or JSON file; repeatable.", show_default="all shipped profiles"),
    ] = None,
    measurements: Annotated[
        Path, typer.Option(envvar=ENVIRONMENT_VARIABLE, help="Folder of measurement tables.")
    ] = DEFAULT_FOLDER,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Runs simulated at the same time.", show_default="one per core")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th run of a model, for a quick look.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(help="Draw predicted against measured, and errors (.svg, .png, .pdf).")
    ] = None,
) -> None:
    """Compare profiles with measured runs: throughput, latencies, starvation and memory verdicts.

    FILE has the columns of runs.csv (vLLM) or slora_runs.csv (S-LoRA) in docs/measurements.md. Each row is
    predicted by the profile of its model, and nothing is fitted on FILE unless --cross-validate asks for it.

    SMAPE is in 0-100 as in docs/measurements.md; bias is the median of predicted over measured, less one.
    """
    drawing = _drawing(arrivals, seed, draws)
    if json is not None:
        require_writable(json, "json")
    if plot is not None:
        require_image(plot, "plot")
    folder = None if file else MeasurementFolder(measurements)
    paths = folder.run_tables() if folder else [path for path in (file,) if path]
    tables = [read_any_runs(path) for path in paths]
    shipped = [*available_profiles(), *available_slora_profiles()]
    profiles = [load_any_profile(name) for name in profile or shipped]
    subjects, skipped = subjects_of(tables, profiles, every, every_model=not profile)
    print_skipped(skipped)
    benchmarks = _benchmarks(measurements) if cross_validate else None
    compared = _compare(subjects, drawing, threads or _cores(), benchmarks)
    capacity = _kv_capacity(subjects, folder)
    for subject, comparisons in zip(subjects, compared, strict=True):
        print_scores(subject.profile.name, comparisons, capacity.get(subject.profile.name))
    if json is not None:
        write_text(json, _document(compared, skipped, capacity, drawing, subjects, cross_validate))
    if plot is not None:
        plot_validation({s.profile.name: items for s, items in zip(subjects, compared, strict=True)}, plot)
        typer.echo(f"wrote {plot}", err=True)


def _drawing(arrivals: str, seed: int | None, draws: int | None) -> Drawing:
    known = get_args(ArrivalSource)
    if arrivals not in known:
        raise AdaptwinError(f"arrivals: {arrivals!r} is not one of {', '.join(known)}")
    fresh = arrivals == "fresh"
    source: ArrivalSource = "fresh" if fresh else "client-seed0"
    return Drawing(
        source,
        seed=seed if seed is not None else int(fresh),
        draws=draws or (_FRESH_DRAWS if fresh else 1),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _benchmarks(measurements: Path) -> list[Microbenchmark]:
    return MeasurementFolder(measurements).microbenchmarks()


def _compare(
    subjects: Sequence[Subject],
    drawing: Drawing,
    threads: int,
    benchmarks: Sequence[Microbenchmark] | None,
) -> list[list[Comparison]]:
    """Each subject's comparisons, in order, under one progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        if benchmarks is not None:
            said = [_held_out(subject, benchmarks, threads, bar) for subject in subjects]
        else:
            said = [_predicted(subject, drawing, threads, bar) for subject in subjects]
    return [compare(subject.runs, one) for subject, one in zip(subjects, said, strict=True)]


def _predicted(subject: Subject, drawing: Drawing, threads: int, bar: Progress) -> list[Prediction]:
    task = bar.add_task(subject.profile.name, total=len(subject.runs))
    return list(bar.track(subject.predictions(drawing, threads), task_id=task, total=len(subject.runs)))


def _held_out(
    subject: Subject, benchmarks: Sequence[Microbenchmark], threads: int, bar: Progress
) -> list[Prediction]:
    task = bar.add_task(f"{subject.profile.name}, held out", total=1.0)
    return subject.held_out_predictions(benchmarks, threads, lambda part: bar.update(task, completed=part))


def _kv_capacity(subjects: Sequence[Subject], folder: MeasurementFolder | None) -> dict[str, MemoryScores]:
    if folder is None:
        return {}
    vllm = [subject.profile for subject in subjects if isinstance(subject.profile, Profile)]
    return {profile.name: score_memory(profile, folder.kv_capacity(profile.model.name)) for profile in vllm}


def _document(
    compared: Sequence[Sequence[Comparison]],
    skipped: Sequence[Skipped],
    capacity: dict[str, MemoryScores],
    drawing: Drawing,
    subjects: Sequence[Subject],
    cross_validated: bool,
) -> str:
    settings = {
        **vars(drawing),
        "cross_validated": cross_validated,
        "profiles": {subject.profile.name: subject.profile.content_hash for subject in subjects},
    }
    comparisons = [item for items in compared for item in items]
    return validation_json(comparisons, settings=settings, skipped=skipped, kv_capacity=capacity)
