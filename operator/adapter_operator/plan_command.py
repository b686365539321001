"""What `adaptwin plan` does: read, decide, show."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from rich.console import Console

from adapter_operator.api.load import load_adapter_deployment
from adapter_operator.api.quantities import DURATION_PATTERN, parse_duration_s
from adapter_operator.plan_file import load_plan
from adapter_operator.planning import Decision, PlanningRequest, TwinVerifier, decide, request_from_spec
from adapter_operator.planning.errors import PlanningError
from adapter_operator.planning.loads import demanded_loads
from adapter_operator.planning.verify import warm_up
from adapter_operator.rendering import machine, text
from adapter_operator.rendering.report import write_report
from adapter_predictor.placement import FrontierPoint, frontier
from adapter_predictor.predictor import Predictor
from adapter_twin.outputs import require_writable
from adapter_twin.profile import load_profile
from adapter_twin.profile.validity import extrapolation_warning, extrapolations

VERIFIED, REJECTED = 0, 1
"""Exit codes; 2 is bad input."""

WIDTH_WITHOUT_TERMINAL = 100


@dataclass(frozen=True)
class PlanOptions:
    """The options of `adaptwin plan`.

    Attributes:
        file: The AdapterDeployment.
        output: ``text``, ``yaml`` or ``json``.
        report: Where to write the page with plots.
        present: The plan that runs now.
        profile: Name or path of a profile that replaces the spec's.
        seeds: Replaces the spec's number of seeds.
        horizon: Replaces the spec's horizon.
        wide: Whether to name every adapter.
    """

    file: Path
    output: str = "text"
    report: Path | None = None
    present: Path | None = None
    profile: str | None = None
    seeds: int | None = None
    horizon: str | None = None
    wide: bool = False


def run(options: PlanOptions) -> int:
    """Plan, print, and give the exit code."""
    start = time.monotonic()
    if options.report is not None:
        require_writable(options.report, "--report")
    request = planning_request(options)
    read = time.monotonic()
    with spinner() as tell:
        tell("compiling the twin, which the first run after a change takes a while for")
        warm_up(request.profile)
        compiled = time.monotonic()
        decision = decide(request, verifier=TwinVerifier(threads=processors()), progress=tell)
        before = {"read": read - start, "compile": compiled - read}
        decision = replace(decision, timings=before | dict(decision.timings))
        tell("asking what more and fewer GPUs would carry")
        decision, points = _with_frontier(request, decision)
        if options.report:
            tell("drawing the report")
            decision = _with_report(options.report, request, decision, points)
    _show(options, request, decision, points)
    _warn(request, decision)
    return VERIFIED if decision.applicable else REJECTED


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def planning_request(options: PlanOptions) -> PlanningRequest:
    """What the command's file and options ask for."""
    deployment = load_adapter_deployment(options.file)
    request = request_from_spec(
        deployment,
        present=load_plan(options.present) if options.present else None,
        profile=load_profile(options.profile) if options.profile else None,
    )
    settings = request.verification
    return replace(
        request,
        verification=replace(
            settings,
            seeds=settings.seeds if options.seeds is None else options.seeds,
            horizon_s=settings.horizon_s if options.horizon is None else _horizon_s(options.horizon),
        ),
    )


def _horizon_s(duration: str) -> float:
    if not re.search(DURATION_PATTERN, duration):
        raise PlanningError(f'--horizon: {duration} is not a duration such as "30m" or "1h30m"')
    return parse_duration_s(duration)


def _with_frontier(request: PlanningRequest, decision: Decision) -> tuple[Decision, Sequence[FrontierPoint]]:
    """What somewhat fewer and more GPUs would carry, and how long asking took."""
    if decision.plan is None:
        return decision, ()
    start = time.monotonic()
    points = frontier(
        request.adapters,
        Predictor.for_profile(request.profile),
        request.objectives,
        decision.plan,
        tokens=request.tokens,
    )
    timings = {**decision.timings, "frontier": time.monotonic() - start}
    return replace(decision, timings=timings), points


def _with_report(
    path: Path, request: PlanningRequest, decision: Decision, points: Sequence[FrontierPoint]
) -> Decision:
    start = time.monotonic()
    write_report(path, request, decision, points)
    return replace(decision, timings={**decision.timings, "report": time.monotonic() - start})


def _show(
    options: PlanOptions, request: PlanningRequest, decision: Decision, points: Sequence[FrontierPoint]
) -> None:
    if options.output == "json":
        typer.echo(machine.to_json(request, decision, points))
    elif options.output == "yaml":
        typer.echo(machine.to_yaml(request, decision, points))
    else:
        text.render(output_console(), request, decision, points, wide=options.wide)
    if options.report:
        Console(stderr=True).print(f"report: {options.report}", highlight=False)


def _warn(request: PlanningRequest, decision: Decision) -> None:
    """Say on stderr where the plan goes beyond what its profile was measured on: each reason once."""
    clauses: dict[str, str] = {}
    loads = demanded_loads(request, decision.plan) if decision.plan else {}
    for load in sorted(loads.values(), key=lambda load: -load.rate):
        for clause in extrapolations(
            request.profile,
            max_loras=load.max_loras,
            max_lora_rank=load.max_lora_rank,
            adapters=len(load.rates),
            offered_rate_rps=load.rate,
        ):
            clauses.setdefault(re.split(r"[0-9]", clause, maxsplit=1)[0], clause)
    if warning := extrapolation_warning(request.profile, tuple(clauses.values())):
        typer.echo(f"warning: {warning}", err=True)


def output_console() -> Console:
    """The terminal as it is; a hundred columns where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """A spinner on stderr where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("reading") as status:
        yield status.update
