"""`adaptwin twin transition`: from one plan to another while requests come in."""

import json
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adapter_twin.errors import WorkloadError
from adapter_twin.fleet import (
    Comparison,
    Failure,
    Fleet,
    FleetChange,
    Mechanics,
    Rollout,
    simulate_transition,
)
from adapter_twin.fleet.document import FleetDocument, read_fleet
from adapter_twin.fleet.figures import Objectives, document
from adapter_twin.fleet.page import transition_page
from adapter_twin.fleet.simulation import DEFAULT_PATIENCE_S
from adapter_twin.fleet.terminal import print_comparison
from adapter_twin.outputs import require_writable, write_text
from adapter_twin.profile import Profile, load_profile
from adapter_twin.workload import Workload
from adapter_twin.workload.document import read_workload

DEFAULT_DURATION_S = 3600.0
DEFAULT_CHANGE_AT_S = 300.0
_SECONDS = r"[0-9]+(?:\.[0-9]+)?"
_FAILURE = re.compile(rf"(?P<replica>.+)@(?P<at>{_SECONDS})(\+(?P<back>{_SECONDS}))?")


@dataclass(frozen=True)
class Transition:
    """What is simulated."""

    profile: Profile
    fleet: Fleet
    changes: tuple[FleetChange, ...]
    workload: Workload
    mechanics: Mechanics
    seed: int

    @property
    def rollout_at_s(self) -> float | None:
        """When the rollout begins, if there is one."""
        return next((change.at_s for change in self.changes if isinstance(change, Rollout)), None)


def transition(
    profile: Annotated[str, typer.Option(help="Name of a shipped profile, or a JSON file.")],
    before: Annotated[
        Path,
        typer.Option(
            "--from", help="The plan that runs, as `adaptwin plan -o yaml` wrote it.", metavar="PLAN"
        ),
    ],
    after: Annotated[
        Path | None,
        typer.Option(
            "--to", help="The plan to roll out.", show_default="none, only failures", metavar="PLAN"
        ),
    ] = None,
    workload: Annotated[
        Path | None,
        typer.Option(
            help="Workload file (YAML) with all the plans' adapters.",
            show_default="the plans' own rates",
            metavar="FILE",
        ),
    ] = None,
    at: Annotated[
        float, typer.Option(help="When the rollout begins.", metavar="SECONDS")
    ] = DEFAULT_CHANGE_AT_S,
    surge_gpus: Annotated[
        int, typer.Option(min=0, help="GPUs that may be taken beyond the larger of the two plans.")
    ] = 0,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            help="A replica that dies after AT seconds, and is started again BACK seconds later; repeatable.",
            metavar="REPLICA@AT[+BACK]",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            help="Of the simulation.", show_default="the workload file's, or 3600", metavar="SECONDS"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of arrivals, lengths and routing.")] = 0,
    image_s: Annotated[
        float | None, typer.Option(min=0, help="To pull the image.", show_default="the profile's")
    ] = None,
    weights_s: Annotated[
        float | None, typer.Option(min=0, help="To load the weights.", show_default="the profile's")
    ] = None,
    compile_s: Annotated[
        float | None, typer.Option(min=0, help="To compile and capture graphs.", show_default="the profile's")
    ] = None,
    drain_timeout_s: Annotated[
        float | None, typer.Option(min=0, help="How long a drain waits.", show_default="300")
    ] = None,
    served: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction served in time below which an adapter starves.")
    ] = 0.95,
    patience_s: Annotated[
        float, typer.Option(min=0, help="In time: at most so much later than its tokens take.")
    ] = DEFAULT_PATIENCE_S,
    ttft_s: Annotated[float | None, typer.Option(help="Objective: mean time to first token.")] = None,
    itl_s: Annotated[float | None, typer.Option(help="Objective: mean inter-token latency.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the table over time.")] = 12,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Engines simulated at once.", show_default="one for each processor"),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write everything here.", metavar="FILE")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page with plots here.", metavar="HTML")
    ] = None,
) -> None:
    """Roll out a plan, or let replicas fail, and compare with staying as it was, under the same requests.

    Plans are read from what `adaptwin plan -o yaml` or `-o json` writes.
    """
    for path, option in ((json_file, "json"), (report, "report")):
        if path is not None:
            require_writable(path, option)
    objectives = Objectives(
        served,
        ttft_s=float("inf") if ttft_s is None else ttft_s,
        itl_s=float("inf") if itl_s is None else itl_s,
    )
    loaded = load_profile(profile)
    plans = [read_fleet(path) for path in (before, after) if path is not None]
    times = {
        "image_s": image_s,
        "weights_s": weights_s,
        "compile_s": compile_s,
        "drain_timeout_s": drain_timeout_s,
    }
    given = {name: value for name, value in times.items() if value is not None}
    simulated = Transition(
        profile=loaded,
        fleet=plans[0].fleet(),
        changes=_changes(loaded, plans, at, surge_gpus, fail or []),
        workload=_workload(loaded, workload, plans, duration),
        mechanics=Mechanics.for_profile(loaded, **given),
        seed=seed,
    )
    comparison = _simulate(simulated, patience_s, threads or _processors())
    _show(simulated, comparison, objectives, rows)
    _write(simulated, comparison, objectives, json_file, report)


def _changes(
    profile: Profile, plans: list[FleetDocument], at_s: float, surge_gpus: int, failures: list[str]
) -> tuple[FleetChange, ...]:
    rollouts = [
        Rollout(plan.fleet(), at_s, surge_gpus, gpus_per_replica=profile.tensor_parallel_size)
        for plan in plans[1:]
    ]
    changes: tuple[FleetChange, ...] = (*rollouts, *(_failure(text) for text in failures))
    if not changes:
        raise WorkloadError("to: give a plan to roll out, or a replica that fails with --fail")
    return changes


def _failure(text: str) -> Failure:
    match = _FAILURE.fullmatch(text)
    if match is None:
        raise WorkloadError(f"fail: {text!r} is not REPLICA@AT or REPLICA@AT+BACK, such as p-0@600+30")
    back = match["back"]
    return Failure(match["replica"], float(match["at"]), None if back is None else float(back))


def _workload(
    profile: Profile, file: Path | None, plans: list[FleetDocument], duration_s: float | None
) -> Workload:
    """The file's, or the latest plan's adapters with those that only the plan before had."""
    if file is not None:
        read = read_workload(file)
        if duration_s is not None:
            read = read.model_copy(update={"duration_s": duration_s})
        return read.build(profile, DEFAULT_DURATION_S)
    adapters = {adapter.name: adapter for plan in plans for adapter in plan.demand()}
    if not adapters:
        raise WorkloadError("workload: the plans do not say their adapters' rates; give --workload")
    return Workload.for_profile(
        profile, adapters.values(), DEFAULT_DURATION_S if duration_s is None else duration_s
    )


def _simulate(simulated: Transition, patience_s: float, threads: int) -> Comparison:
    console = Console(stderr=True)
    with console.status("simulating") if console.is_terminal else nullcontext():
        return simulate_transition(
            simulated.profile,
            simulated.fleet,
            simulated.changes,
            simulated.workload,
            seed=simulated.seed,
            mechanics=simulated.mechanics,
            patience_s=patience_s,
            threads=threads,
        )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _show(simulated: Transition, comparison: Comparison, objectives: Objectives, rows: int) -> None:
    print_comparison(Console(), comparison, objectives, simulated.rollout_at_s, rows)


def _write(
    simulated: Transition,
    comparison: Comparison,
    objectives: Objectives,
    json_file: Path | None,
    report: Path | None,
) -> None:
    settings = _settings(simulated)
    if json_file is not None:
        content = document(comparison, objectives, settings)
        write_text(json_file, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    if report is not None:
        title = f"A transition: {simulated.profile.model.name} on {simulated.profile.gpu.name}"
        page = transition_page(
            comparison,
            objectives,
            simulated.workload.adapters,
            simulated.rollout_at_s,
            title,
            settings,
        )
        write_text(report, page)


def _settings(simulated: Transition) -> dict[str, object]:
    settings: dict[str, object] = {
        "profile": simulated.profile.name,
        "adapters": len(simulated.workload.adapters),
        "offered rate": f"{sum(adapter.rate for adapter in simulated.workload.adapters):.2f} requests/s",
        "duration": f"{simulated.workload.duration_s:,.0f} s",
        "seed": simulated.seed,
        "replicas at the start": len(simulated.fleet.replicas),
    }
    for change in simulated.changes:
        match change:
            case Rollout():
                replicas = len(change.to.replicas)
                settings["rollout"] = f"{replicas} replicas, from {change.at_s:,.0f} s on"
                settings["surge"] = f"{change.surge_gpus} GPUs"
            case Failure():
                back = f", back after {change.back_after_s:,.0f} s" if change.back_after_s is not None else ""
                settings[f"failure of {change.replica}"] = f"{change.at_s:,.0f} s{back}"
    return settings
