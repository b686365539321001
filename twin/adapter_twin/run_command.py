"""`adaptwin twin run`: simulate one replica."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from adapter_twin.errors import AdaptwinError, WorkloadError
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.profile import Profile, load_profile
from adapter_twin.rendering.page import report_page
from adapter_twin.rendering.table import print_report
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.slo import STARVATION_THRESHOLD
from adapter_twin.workload import Adapter, Requests, Workload, generate, read_trace
from adapter_twin.workload.document import cycled_adapters, read_workload

DEFAULT_DURATION_S = 3600.0

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Simulated:
    """Adapters and the requests that they send."""

    adapters: tuple[Adapter, ...]
    requests: Requests
    duration_s: float
    source: str


def run(
    profile: Annotated[str, typer.Option(help="Name of a shipped profile, or a JSON file.")],
    adapters: Annotated[int | None, typer.Option(min=1, help="Number of adapters.")] = None,
    rates: Annotated[str, typer.Option(help="Requests/s, comma-separated; they cycle.")] = "0.1",
    ranks: Annotated[str, typer.Option(help="LoRA ranks, comma-separated; they cycle.")] = "8",
    workload: Annotated[Path | None, typer.Option(help="Workload file (YAML).")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Trace (CSV: arrival_time,prompt_tokens,output_tokens,adapter).")
    ] = None,
    max_loras: Annotated[
        int | None, typer.Option(min=1, help="Slots. [default: one for each adapter]")
    ] = None,
    max_lora_rank: Annotated[
        int | None, typer.Option(help="Rank that slots are padded to. [default: the adapters' largest]")
    ] = None,
    max_cpu_loras: Annotated[
        int | None, typer.Option(min=1, help="Adapters kept in host memory. [default: all]")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(help="Seconds. [default: the workload file's, or 3600]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of arrivals and token lengths.")] = 0,
    output: Annotated[str, typer.Option("--output", "-o", help="table | json")] = "table",
    report: Annotated[Path | None, typer.Option(help="Write a page with plots (HTML).")] = None,
) -> None:
    """Simulate one replica that serves a workload, and report what it delivers.

    The workload is either --adapters with --rates and --ranks, or a --workload file, or a --trace.
    """
    if output not in ("table", "json"):
        raise AdaptwinError(f"output: {output} is not one of table, json")
    loaded = load_profile(profile)
    simulated = _workload(loaded, adapters, rates, ranks, workload, trace, duration, seed)
    config = _config(simulated.adapters, max_loras, max_lora_rank, max_cpu_loras)
    outcome = simulate_replica(
        loaded, config, simulated.requests, simulated.adapters, duration_s=simulated.duration_s
    )
    if report is not None:
        settings = _settings(loaded, config, simulated, seed)
        page = report_page(outcome, f"{loaded.model.name} on {loaded.gpu.name}", settings)
        _write(report, page)
    if output == "json":
        typer.echo(json.dumps(outcome.to_dict(), allow_nan=False))
    else:
        print_report(Console(), outcome, STARVATION_THRESHOLD)


def _workload(
    profile: Profile,
    count: int | None,
    rates: str,
    ranks: str,
    file: Path | None,
    trace: Path | None,
    duration_s: float | None,
    seed: int,
) -> Simulated:
    if sum(source is not None for source in (count, file, trace)) != 1:
        raise WorkloadError("workload: give exactly one of --adapters, --workload, --trace")
    if trace is not None:
        adapters, requests = read_trace(trace)
        return Simulated(adapters, requests, duration_s or _traced_duration_s(requests), str(trace))
    if file is not None:
        document = read_workload(file)
        if duration_s is not None:
            document = document.model_copy(update={"duration_s": duration_s})
        built = document.build(profile, DEFAULT_DURATION_S)
        source = str(file)
    else:
        named = cycled_adapters(count or 0, _numbers("rates", rates, float), _numbers("ranks", ranks, int))
        built = Workload.for_profile(profile, named, duration_s or DEFAULT_DURATION_S)
        source = f"rates {rates}, ranks {ranks}, cycling"
    return Simulated(built.adapters, generate(built, seed), built.duration_s, source)


def _traced_duration_s(requests: Requests) -> float:
    """To the end of the last minute with an arrival, and one more to serve it."""
    return 60.0 * (float(requests.arrival_s[-1]) // 60 + 2)


def _numbers(field: str, text: str, kind: type[N]) -> tuple[N, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        example = "8,16" if kind is int else "0.4,0.05"
        raise WorkloadError(f"{field}: {text!r} is not a list of numbers such as {example}") from None


def _config(
    adapters: tuple[Adapter, ...], max_loras: int | None, max_lora_rank: int | None, max_cpu_loras: int | None
) -> ReplicaConfig:
    largest = max((adapter.rank for adapter in adapters), default=ALLOWED_LORA_RANKS[0])
    return ReplicaConfig(
        max_loras=len(adapters) if max_loras is None else max_loras,
        max_lora_rank=largest if max_lora_rank is None else max_lora_rank,
        max_cpu_loras=max_cpu_loras,
    )


def _settings(profile: Profile, config: ReplicaConfig, simulated: Simulated, seed: int) -> dict[str, object]:
    return {
        "profile": profile.name,
        "profile origin": profile.origin,
        "workload": simulated.source,
        "adapters": len(simulated.adapters),
        "offered rate": f"{sum(adapter.rate for adapter in simulated.adapters):.2f} requests/s",
        "max_loras": config.max_loras,
        "max_lora_rank": config.max_lora_rank,
        "duration": f"{simulated.duration_s:,.0f} s",
        "seed": seed,
    }


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise AdaptwinError(f"report: {path} cannot be written, {error.strerror}") from error
