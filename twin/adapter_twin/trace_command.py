"""`adaptwin twin trace`: write a workload as a trace."""

from pathlib import Path
from typing import Annotated

import typer

from adapter_twin import workload_options as options
from adapter_twin.errors import WorkloadError
from adapter_twin.outputs import require_writable


def trace(
    file: Annotated[Path, typer.Argument(help="Where to write the trace (CSV).", metavar="OUT")],
    profile: Annotated[
        str | None, typer.Option(help="Profile whose lengths are assumed where none are given.")
    ] = None,
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
    duration: options.DurationOption = None,
    seed: options.SeedOption = 0,
) -> None:
    """Write the requests of a workload to a file that `twin run --trace` and others can read.

    The workload is --adapters with --rates or --zipf, or a --workload file, or a public --trace that is given
    adapters. The columns are arrival_time (seconds), prompt_tokens, output_tokens and adapter.
    """
    from rich.console import Console  # noqa: PLC0415 - all that is slow to import is left out of --help

    from adapter_twin.outputs import written_whole  # noqa: PLC0415
    from adapter_twin.profile import load_profile  # noqa: PLC0415
    from adapter_twin.progress import counting  # noqa: PLC0415
    from adapter_twin.workload.trace_writing import write_trace  # noqa: PLC0415

    require_writable(file, "trace")
    for source in filter(None, (trace, workload)):
        if source.resolve() == file.resolve():
            raise WorkloadError(f"trace: {file} is what is read, name another file to write to")
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
    with counting("reading", None) as on_rows:
        simulated = chosen.simulated(load_profile(profile) if profile else None, on_rows)
    with (
        counting("writing", simulated.requests.count) as on_rows,
        written_whole(file) as target,
    ):
        write_trace(target, simulated.adapters, simulated.requests, on_rows)
    console = Console(stderr=True)
    for note in simulated.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    rate = simulated.requests.count / simulated.duration_s
    console.print(
        f"wrote {file}: {simulated.requests.count:,} requests of {len(simulated.adapters):,} adapters in "
        f"{simulated.duration_s:,.0f} s ({rate:.2f}/s)",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
