"""`adaptwin twin calibrate`: fit a profile from measurement tables."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from adapter_twin.calibration.calibrate import calibrate_profile
from adapter_twin.calibration.fit import FitSettings
from adapter_twin.measurements.folder import DEFAULT_FOLDER, ENVIRONMENT_VARIABLE, MeasurementFolder
from adapter_twin.outputs import require_writable
from adapter_twin.profile import load_profile, profile_json


def calibrate(
    profile: Annotated[str, typer.Argument(help="Profile to start from: a shipped name or a JSON file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the fitted profile.")],
    measurements: Annotated[
        Path, typer.Option(envvar=ENVIRONMENT_VARIABLE, help="Folder of measurement tables.")
    ] = DEFAULT_FOLDER,
    iterations: Annotated[int, typer.Option(min=1, help="Gauss-Newton iterations.")] = 6,
    every: Annotated[int, typer.Option(min=1, help="Fit on every n-th run; scored on all.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="Runs simulated at the same time.")] = 2,
) -> None:
    """Fit memory, loading times, step time and token lengths of a profile to measured runs.

    The tables are runs.csv, kv_capacity.csv, adapter_loading.csv and microbenchmarks.csv, in the schema of
    docs/measurements.md. Nothing is written before the fit has ended.
    """
    start = load_profile(profile)
    require_writable(output, "output")
    folder = MeasurementFolder(measurements)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("calibrating", total=1.0)
        fitted = calibrate_profile(
            start,
            folder,
            FitSettings(iterations=iterations, threads=threads),
            every=every,
            progress=lambda what, part: bar.update(task, description=what, completed=part),
        )
    output.write_text(profile_json(fitted), encoding="utf-8")
    report = fitted.fit
    if report is not None:
        typer.echo(
            f"{output}: SMAPE over {report.rows} runs: throughput {report.throughput_smape:.2f}, "
            f"ITL {report.itl_smape:.2f}, TPOT {report.tpot_smape:.2f}, TTFT {report.ttft_smape:.2f}"
        )
