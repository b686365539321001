"""`adaptwin twin run`: simulate one replica."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapter_twin import workload_options as options
from adapter_twin.errors import AdaptwinError
from adapter_twin.outputs import require_writable, write_text

if TYPE_CHECKING:
    from adapter_twin.profile import Profile
    from adapter_twin.profile.store import AnyProfile
    from adapter_twin.replica import ReplicaConfig
    from adapter_twin.report import Report
    from adapter_twin.workload_options import Simulated

OUTPUTS = ("table", "json")


def run(
    profile: Annotated[str, typer.Option(help="Name of a shipped profile, or a JSON file.")],
    adapters: options.AdaptersOption = None,
    rates: options.RatesOption = None,
    total_rate: options.TotalRateOption = None,
    zipf: options.ZipfOption = None,
    ranks: options.RanksOption = None,
    arrivals: options.ArrivalsOption = None,
    prompt_tokens: options.PromptOption = None,
    output_tokens: options.OutputOption = None,
    correlation: options.CorrelationOption = None,
    workload: options.WorkloadOption = None,
    trace: options.TraceOption = None,
    adapter_column: options.AdapterColumnOption = None,
    trace_start: options.TraceStartOption = None,
    trace_speed: options.TraceSpeedOption = None,
    max_loras: Annotated[
        int | None, typer.Option(min=1, help="Slots.", show_default="one for each adapter")
    ] = None,
    max_lora_rank: Annotated[
        int | None, typer.Option(help="Rank that slots are padded to.", show_default="the adapters' largest")
    ] = None,
    max_cpu_loras: Annotated[
        int | None, typer.Option(min=1, help="Adapters kept in host memory.", show_default="all")
    ] = None,
    duration: options.DurationOption = None,
    seed: options.SeedOption = 0,
    output: Annotated[str, typer.Option("--output", "-o", help="table | json")] = "table",
    report: Annotated[
        Path | None, typer.Option(help="Also write a page with plots here.", metavar="HTML")
    ] = None,
) -> None:
    """Simulate one replica that serves a workload, and report what it delivers.

    The workload is --adapters with --rates or --zipf, or a --workload file, or a --trace.
    """
    if output not in OUTPUTS:
        raise AdaptwinError(f"output: {output} is not one of {', '.join(OUTPUTS)}")
    if report is not None:
        require_writable(report, "report")
    chosen = options.WorkloadOptions(
        adapters=adapters,
        rates=rates,
        total_rate=total_rate,
        zipf=zipf,
        ranks=ranks,
        arrivals=arrivals,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        correlation=correlation,
        workload=workload,
        trace=trace,
        adapter_column=adapter_column,
        trace_start=trace_start,
        trace_speed=trace_speed,
        duration=duration,
        seed=seed,
    )
    _run(profile, chosen, (max_loras, max_lora_rank, max_cpu_loras), output, report)


def _run(
    profile_name: str,
    chosen: options.WorkloadOptions,
    slots: tuple[int | None, int | None, int | None],
    output: str,
    page: Path | None,
) -> None:
    """The command itself; what is slow to import is imported here, so that --help is quick."""
    from adapter_twin.profile.store import load_any_profile  # noqa: PLC0415
    from adapter_twin.progress import counting, watching  # noqa: PLC0415
    from adapter_twin.replica import simulate_replica  # noqa: PLC0415

    profile = load_any_profile(profile_name)
    with counting("reading", None) as on_rows:
        simulated = chosen.simulated(profile, on_rows)
    config = _config(profile, simulated, *slots)
    report = simulate_replica(
        profile,
        config,
        simulated.requests,
        simulated.adapters,
        duration_s=simulated.duration_s,
        during=lambda now: watching("simulating", simulated.duration_s, now),
    )
    warnings = _warnings(profile, config, simulated)
    if page is not None:
        write_text(page, _page(profile, config, simulated, report, warnings, chosen.seed))
    _print(report, warnings, output)


def _config(
    profile: "AnyProfile",
    simulated: "Simulated",
    max_loras: int | None,
    max_lora_rank: int | None,
    max_cpu_loras: int | None,
) -> "ReplicaConfig":
    from adapter_twin.memory import ALLOWED_LORA_RANKS  # noqa: PLC0415
    from adapter_twin.profile import Profile  # noqa: PLC0415
    from adapter_twin.replica import ReplicaConfig  # noqa: PLC0415

    if not isinstance(profile, Profile):
        for option, value in (("max-loras", max_loras), ("max-lora-rank", max_lora_rank)):
            if value is not None:
                raise AdaptwinError(f"{option}: profile {profile.name} is of S-LoRA, which has no slots")
    largest = max((adapter.rank for adapter in simulated.adapters), default=ALLOWED_LORA_RANKS[0])
    return ReplicaConfig(
        max_loras=len(simulated.adapters) if max_loras is None else max_loras,
        max_lora_rank=largest if max_lora_rank is None else max_lora_rank,
        max_cpu_loras=max_cpu_loras,
    )


def _warnings(profile: "AnyProfile", config: "ReplicaConfig", simulated: "Simulated") -> tuple[str, ...]:
    """What a person should know before trusting the figures."""
    from adapter_twin.profile import Profile  # noqa: PLC0415
    from adapter_twin.profile.validity import extrapolation_warning, extrapolations  # noqa: PLC0415

    if not isinstance(profile, Profile):
        return simulated.notes
    outside = extrapolations(
        profile,
        max_loras=config.max_loras,
        max_lora_rank=config.max_lora_rank,
        adapters=len(simulated.adapters),
        offered_rate_rps=simulated.requests.count / simulated.duration_s,
    )
    return tuple(filter(None, (*simulated.notes, extrapolation_warning(profile, outside))))


def _page(
    profile: "AnyProfile",
    config: "ReplicaConfig",
    simulated: "Simulated",
    report: "Report",
    warnings: tuple[str, ...],
    seed: int,
) -> str:
    from adapter_twin.profile import Profile  # noqa: PLC0415
    from adapter_twin.rendering.page import report_page  # noqa: PLC0415

    settings: dict[str, object] = {
        "profile": f"{profile.name} ({profile.origin})",
        "workload": simulated.source,
        "adapters": f"{len(simulated.adapters):,}",
        "offered": f"{simulated.requests.count / simulated.duration_s:.2f} requests/s",
        "duration": f"{simulated.duration_s:,.0f} s",
        "seed": str(seed),
    }
    if isinstance(profile, Profile):
        settings |= _slots(profile, config)
    return report_page(report, f"{profile.model.name} on {profile.gpu.name}", settings, warnings)


def _slots(profile: "Profile", config: "ReplicaConfig") -> dict[str, object]:
    """Where the GPU's memory goes, and how many slots of this rank it has room for."""
    from adapter_twin.memory import kv_budget_bytes, most_slots, slots_bytes  # noqa: PLC0415

    budget = kv_budget_bytes(profile, profile.engine.gpu_memory_utilization)
    slots = slots_bytes(profile, config.max_loras, config.max_lora_rank)
    return {
        "slots (max_loras)": f"{config.max_loras:,}",
        "padded rank (max_lora_rank)": str(config.max_lora_rank),
        "memory of the GPU": f"{profile.gpu.memory_bytes / 2**30:.1f} GiB",
        "left for slots and KV cache": f"{budget / 2**30:.1f} GiB",
        "taken by the slots": f"{slots / 2**30:.1f} GiB",
        f"most slots of rank {config.max_lora_rank}": f"{most_slots(profile, config.max_lora_rank):,}",
    }


def _print(report: "Report", warnings: tuple[str, ...], output: str) -> None:
    import json  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415

    from adapter_twin.rendering.table import print_report  # noqa: PLC0415
    from adapter_twin.slo import STARVATION_THRESHOLD  # noqa: PLC0415

    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    if output == "json":
        typer.echo(json.dumps(report.to_dict(), allow_nan=False))
    else:
        print_report(Console(), report, STARVATION_THRESHOLD)
