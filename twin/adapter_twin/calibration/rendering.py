"""What a calibration found, as tables for a terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from adapter_twin.calibration.bench_fit import BenchCalibration
from adapter_twin.calibration.bench_runs import measured_figures
from adapter_twin.calibration.identifiability import Coefficient, Identifiability, Verdict
from adapter_twin.calibration.parameters import LENGTHS
from adapter_twin.calibration.plan import RunPlan

_WITHOUT_UNIT = tuple(parameter.name for parameter in LENGTHS)
_STYLES = {Verdict.IDENTIFIED: "green", Verdict.WEAK: "yellow", Verdict.KEPT: "red"}


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def print_identifiability(console: Console, found: Identifiability) -> None:
    """Each coefficient with its standard error, and what the data say of it."""
    table = _table("What the data identify (µs per unit; lengths have none)")
    table.add_column("coefficient", no_wrap=True)
    for name in ("start", "fitted", "±", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for coefficient in found.coefficients:
        table.add_row(*_cells(coefficient))
    console.print(table)
    console.print("± is the standard error, `left` the part of the uncertainty before the measurements.")
    for group in found.groups:
        console.print(f"The data do not tell {_listed(group)} apart: only their combination is known.")
    kept = found.named(Verdict.KEPT)
    if kept:
        console.print(f"Not identified, no better known than the starting profile knew: {', '.join(kept)}.")
    if found.noise > 1.0:
        console.print(
            f"The residuals scatter {found.noise:.1f} times as much as assumed; "
            "the standard errors are widened by that."
        )


def _cells(coefficient: Coefficient) -> tuple[str, ...]:
    verdict = coefficient.verdict
    unit = 1.0 if coefficient.name in _WITHOUT_UNIT else 1e6
    numbers = (coefficient.start, coefficient.value, coefficient.deviation)
    start, value, deviation = (_short(number * unit) for number in numbers)
    style = _STYLES[verdict]
    return coefficient.name, start, value, deviation, f"{coefficient.left:.0%}", f"[{style}]{verdict}[/]"


def _short(number: float) -> str:
    """Three digits, and no exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def print_bench(console: Console, calibration: BenchCalibration) -> None:
    """Each run with what was measured and what the fitted profile predicts for it."""
    table = _table("Runs: measured, and predicted less measured")
    table.add_column("result", overflow="fold")
    for name in ("tokens/s", "TTFT (ms)", "TPOT (ms)"):
        table.add_column(name, justify="right")
        table.add_column("", justify="right")
    for result, predicted in zip(calibration.results, calibration.predicted, strict=True):
        measured = measured_figures(result)
        pairs = (
            (measured.throughput, predicted.throughput, 1.0),
            (measured.ttft_s, predicted.ttft_s, 1e3),
            (measured.tpot_s, predicted.tpot_s, 1e3),
        )
        cells = (cell for m, p, unit in pairs for cell in _pair(m, p, unit))
        table.add_row(result.source.removesuffix(".json"), *cells)
    console.print(table)
    print_identifiability(console, calibration.identifiability)
    for note in calibration.notes:
        console.print(f"Note: {note}.")
    validity = calibration.profile.validity
    console.print(
        f"Valid for {validity.max_loras[0]} to {validity.max_loras[1]} slots of rank "
        f"{validity.max_lora_rank[0]} to {validity.max_lora_rank[1]}, {validity.adapters[0]} to "
        f"{validity.adapters[1]} adapters and up to {validity.offered_rate_rps[1]:.3g} requests/s; "
        f"the step time is known within {calibration.step_time_error:.1%} there."
    )


def _pair(measured: float, predicted: float, unit: float) -> tuple[str, str]:
    if not measured > 0.0:
        return "–", ""
    return f"{measured * unit:,.1f}", f"{predicted / measured - 1.0:+.1%}"


def print_plan(console: Console, plan: RunPlan) -> None:
    """The plan in short: what each run is for, and how much will be known."""
    minutes = f"{plan.expected_s / 60:.0f} minutes with the servers' starts"
    table = _table(f"{len(plan.runs)} runs, about {minutes}")
    table.add_column("server", no_wrap=True)
    for name in ("adapters", "open", "tokens", "requests", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("identifies")
    for run in plan.runs:
        tokens = f"{run.prompt_tokens} + {run.output_tokens}"
        numbers = (run.adapters, run.max_concurrency, tokens, run.prompts, round(run.expected_s))
        table.add_row(run.server.name, *map(str, numbers), ", ".join(run.identifies) or "–")
    console.print(table)
    console.print(
        "Each run is named with what would be much less certain without it. "
        f"The step time will be known within about {plan.expected_error:.1%}."
    )
