"""`adaptwin compare`: our placement and the baselines, judged by the twin."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from adapter_predictor.compare.comparison import Comparison, compare, steps
from adapter_predictor.compare.suite import Case, chosen, suite
from adapter_predictor.compare.tables import document, equal_table, needs_table, summary
from adapter_predictor.compare.verdicts import Trial
from adapter_predictor.errors import ComparisonError
from adapter_twin.outputs import require_image, require_writable

WIDTH_WITHOUT_TERMINAL = 150
FIRST_SEED = 101

app = typer.Typer(
    name="compare", help="Compare the placement with baselines, judged by the twin.", add_completion=False
)


@app.callback(invoke_without_command=True, subcommand_metavar="")
def run(
    workloads: Annotated[
        str, typer.Option(help="Only these of the suite, comma-separated; `list` names them all.")
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Only some small workloads.")] = False,
    horizon: Annotated[float, typer.Option(min=60.0, help="Simulated seconds of each verdict.")] = 3600.0,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Verdicts average over so many arrivals.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Replicas simulated at once.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="Draw it here (.svg, .png, .pdf).")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Also write all figures here.")] = None,
) -> None:
    """Compare the placement with baselines on a fixed suite of workloads, each judged by the twin.

    For every workload: GPUs needed without starvation, adapters that starve at equal GPUs, inter-token
    latency, and adapters moved while traffic drifts over a day. The whole suite takes some minutes.
    """
    console = Console(highlight=False)
    if workloads == "list":
        _list(console)
        return
    if plot is not None:
        require_image(plot, "--plot")
    if output is not None:
        require_writable(output, "--json")
    cases = chosen([name for name in workloads.replace(",", " ").split() if name], quick=quick)
    trial = Trial(horizon, tuple(range(FIRST_SEED, FIRST_SEED + seeds)), threads)
    if plot is not None:
        draw = _drawing()
    comparison = _compared(cases, trial)
    _print(comparison)
    if output is not None:
        output.write_text(json.dumps(document(comparison), indent=2) + "\n", encoding="utf-8")
    if plot is not None:
        draw(comparison, plot)


def _list(console: Console) -> None:
    for case in suite():
        console.print(f"{case.name:15} {len(case.demands):5,} adapters  {case.description}")


def _compared(cases: tuple[Case, ...], trial: Trial) -> Comparison:
    progress = Progress(
        TextColumn("{task.description:32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=(errors := Console(stderr=True)),
        disable=not errors.is_terminal,
    )
    with progress:
        bar = progress.add_task("", total=steps(cases))
        return compare(cases, trial, lambda done: progress.update(bar, description=done, advance=1))


def _print(comparison: Comparison) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_WITHOUT_TERMINAL)
    console.print("GPUs needed without starvation (*: the twin rejects the plan before it is repaired)")
    console.print(needs_table(comparison))
    console.print("On as many GPUs as ours needs")
    console.print(equal_table(comparison))
    console.print(summary(comparison))


def _drawing() -> Any:
    """The function that draws; matplotlib is an optional dependency."""
    try:
        from adapter_predictor.compare.plot import draw  # noqa: PLC0415 - only plots need matplotlib
    except ModuleNotFoundError as error:
        raise ComparisonError("--plot: matplotlib is not installed; install adaptwin[report]") from error
    return draw
