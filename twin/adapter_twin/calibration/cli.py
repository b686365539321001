"""`adaptwin twin calibrate`: fit a profile to measurements, or plan which to make."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import progress as rich_progress
from rich.console import Console

from adapter_twin.calibration.bench_fit import calibrate_on_bench
from adapter_twin.calibration.bench_serve import read_bench_results
from adapter_twin.calibration.calibrate import calibrate_profile, identify_on_tables
from adapter_twin.calibration.fit import FitSettings, Progress
from adapter_twin.calibration.plan import DEFAULT_RANKS, DEFAULT_SLOTS, MOST_RUNS, RunPlan, plan_runs
from adapter_twin.calibration.plan_script import plan_script
from adapter_twin.calibration.rehearsal import rehearse
from adapter_twin.calibration.rendering import print_bench, print_identifiability, print_plan
from adapter_twin.errors import AdaptwinError
from adapter_twin.measurements.folder import DEFAULT_FOLDER, ENVIRONMENT_VARIABLE, MeasurementFolder
from adapter_twin.measurements.tables import read_slora_runs
from adapter_twin.outputs import require_writable, write_text
from adapter_twin.profile import Profile, SloraProfile, profile_json
from adapter_twin.profile.derivation import derive_profile
from adapter_twin.profile.hardware import load_gpu
from adapter_twin.profile.store import AnyProfile, load_any_profile
from adapter_twin.slora.calibration import calibrate_slora

_PLANNING: dict[str, Any] = {"rich_help_panel": "Planning runs"}
_SLOTS, _RANKS = (",".join(map(str, values)) for values in (DEFAULT_SLOTS, DEFAULT_RANKS))


def calibrate(
    profile: Annotated[str, typer.Argument(help="Profile to start from: a shipped name or a JSON file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the fitted profile, or the plan.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of `vllm bench serve --save-result` files to fit to.")
    ] = None,
    measurements: Annotated[
        Path, typer.Option(envvar=ENVIRONMENT_VARIABLE, help="Folder of measurement tables to fit to.")
    ] = DEFAULT_FOLDER,
    iterations: Annotated[int, typer.Option(min=1, help="Gauss-Newton iterations.")] = 6,
    every: Annotated[int, typer.Option(min=1, help="Tables: fit on every n-th run; scored on all.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="Runs simulated at the same time.")] = 2,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Print the runs to make on your GPU, as a shell script.", **_PLANNING),
    ] = False,
    gpu: Annotated[str | None, typer.Option(help="Derive the start for this GPU first.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="What `vllm serve` is given.", show_default="$MODEL at run time", **_PLANNING),
    ] = None,
    slots: Annotated[str, typer.Option(help="Numbers of slots to cover.", **_PLANNING)] = _SLOTS,
    ranks: Annotated[str, typer.Option(help="Padded ranks to cover.", **_PLANNING)] = _RANKS,
    runs: Annotated[int, typer.Option(min=3, help="No more runs than this.", **_PLANNING)] = MOST_RUNS,
    rehearsal: Annotated[
        Path | None,
        typer.Option("--rehearse", help="Let the twin make the runs; result files go here.", **_PLANNING),
    ] = None,
) -> None:
    """Fit a profile to measurements, say what they identify, or plan which to make.

    With --results it is fitted to benchmark runs on your own GPU, otherwise to tables in the
    schema of docs/measurements.md. Coefficients that the data do not identify are held to the
    starting profile, and the new one says in which range it was measured. With --plan nothing
    is fitted: the fewest runs for the profile's model and GPU are printed, ready to run.
    docs/calibration.md goes through all of it.
    """
    if output is not None:
        require_writable(output, "output")
    start = load_any_profile(profile)
    if rehearsal is not None and not plan:
        raise AdaptwinError("rehearse: goes with --plan, whose runs it makes")
    if results is not None and plan:
        raise AdaptwinError("results: does not go with --plan, which fits nothing")
    settings = FitSettings(iterations=iterations, threads=threads)
    if isinstance(start, SloraProfile):
        if plan or results is not None or gpu is not None:
            raise AdaptwinError(f"plan, results, gpu: for profiles of vLLM only, {start.name} is of S-LoRA")
        _write_fitted(_fit_to_slora_runs(start, measurements, settings), _required(output))
        return
    if gpu is not None:
        start = derive_profile(start, gpu=load_gpu(gpu))
    if plan:
        _plan(start, output, model, _numbers("slots", slots), _numbers("ranks", ranks), runs, rehearsal)
        return
    written = _required(output)
    if results is not None:
        fitted = _fit_to_bench(start, results, settings)
    else:
        fitted = _fit_to_tables(start, MeasurementFolder(measurements), settings, every)
    _write_fitted(fitted, written)


def _required(output: Path | None) -> Path:
    if output is None:
        raise AdaptwinError("output: missing; name the file that the fitted profile is written to (-o)")
    return output


def _fit_to_slora_runs(start: SloraProfile, folder: Path, settings: FitSettings) -> SloraProfile:
    rows = read_slora_runs(folder / "slora_runs.csv")
    with _shown("calibrating") as progress:
        return calibrate_slora(start, rows, threads=settings.threads, progress=progress)


def _fit_to_bench(start: Profile, folder: Path, settings: FitSettings) -> Profile:
    given = read_bench_results(folder)
    with _shown("calibrating") as progress:
        calibration = calibrate_on_bench(start, given, settings, progress)
    print_bench(Console(), calibration)
    return calibration.profile


def _fit_to_tables(start: Profile, folder: MeasurementFolder, settings: FitSettings, every: int) -> Profile:
    with _shown("calibrating") as progress:
        fitted = calibrate_profile(start, folder, settings, every=every, progress=progress)
        progress("what the runs identify", 1.0)
        found = identify_on_tables(start, fitted, folder, settings, every=every)
    print_identifiability(Console(), found)
    return fitted


def _plan(
    start: Profile,
    output: Path | None,
    model: str | None,
    slots: tuple[int, ...],
    ranks: tuple[int, ...],
    most: int,
    rehearsal: Path | None,
) -> None:
    with _shown("planning") as progress:
        made = plan_runs(start, progress, slots=slots, ranks=ranks, most=most)
    print_plan(Console(stderr=True), made)
    if rehearsal is not None:
        _rehearse(made, start, rehearsal)
    script = plan_script(made, model)
    if output is None:
        typer.echo(script, nl=False)
    else:
        write_text(output, script)


def _rehearse(made: RunPlan, truth: Profile, folder: Path) -> None:
    with _shown("rehearsing") as progress:
        rehearse(made, truth, folder, progress)


def _write_fitted(fitted: AnyProfile, output: Path) -> None:
    write_text(output, profile_json(fitted))
    report = fitted.fit
    if report is not None:
        typer.echo(
            f"{output}: SMAPE over {report.rows} runs: throughput {report.throughput_smape:.2f}, "
            f"ITL {report.itl_smape:.2f}, TPOT {report.tpot_smape:.2f}, TTFT {report.ttft_smape:.2f}"
        )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise AdaptwinError(f"{option}: {text!r} is not a list of whole numbers above 0, such as 8,32")
    return numbers


@contextmanager
def _shown(what: str) -> Iterator[Progress]:
    """A progress bar on the terminal's standard error."""
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with rich_progress.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda now, part: bar.update(task, description=now, completed=part)
