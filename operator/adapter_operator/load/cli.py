"""The command `adaptwin load`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from adapter_operator.load.errors import LoadError
from adapter_operator.load.target import HIGHEST_TOKEN, LOWEST_TOKEN, Endpoint, Target
from adapter_twin import workload_options as options

OUTPUTS: Final = ("table", "json")

REQUESTS: Final = "What a request says"
SENDING: Final = "Sending"
PREDICTION: Final = "Comparison with the twin"
OUTPUT: Final = "Output"

app = typer.Typer(name="load", add_completion=False)


@app.callback(invoke_without_command=True, subcommand_metavar="")
def run(
    url: Annotated[
        str, typer.Option(rich_help_panel=SENDING, help="The server, such as http://localhost:8000.")
    ],
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Traffic: a workload file, or one with phases.", metavar="FILE"),
    ] = None,
    trace: options.TraceOption = None,
    adapters: options.AdaptersOption = None,
    rates: options.RatesOption = None,
    total_rate: options.TotalRateOption = None,
    zipf: options.ZipfOption = None,
    ranks: options.RanksOption = None,
    arrivals: options.ArrivalsOption = None,
    prompt_tokens: options.PromptOption = None,
    output_tokens: options.OutputOption = None,
    correlation: options.CorrelationOption = None,
    adapter_column: options.AdapterColumnOption = None,
    trace_start: options.TraceStartOption = None,
    trace_speed: options.TraceSpeedOption = None,
    duration: options.DurationOption = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of arrivals, lengths, drawn adapters and prompts.")
    ] = 0,
    profile: Annotated[
        str | None,
        typer.Option(help="Profile whose lengths are assumed where none are given, and compared with."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            rich_help_panel=REQUESTS, help="The base model's name, for requests without an adapter."
        ),
    ] = "",
    endpoint: Annotated[
        Endpoint, typer.Option(rich_help_panel=REQUESTS, help="Prompts of exact lengths need completions.")
    ] = (Endpoint.COMPLETIONS),
    ignore_eos: Annotated[
        bool,
        typer.Option(
            "--ignore-eos/--keep-eos",
            rich_help_panel=REQUESTS,
            help="Generate all tokens asked for (vLLM), or let the model end.",
        ),
    ] = True,
    token_ids: Annotated[
        str,
        typer.Option(
            rich_help_panel=REQUESTS, help="Prompts are random tokens of this range.", metavar="LOW-HIGH"
        ),
    ] = f"{LOWEST_TOKEN}-{HIGHEST_TOKEN}",
    api_key: Annotated[
        str,
        typer.Option(
            rich_help_panel=REQUESTS, envvar="VLLM_API_KEY", help="The server's API key.", show_default=False
        ),
    ] = "",
    host: Annotated[
        str,
        typer.Option(
            rich_help_panel=REQUESTS,
            help="Host header, where one gateway serves several.",
            show_default="the URL's",
        ),
    ] = "",
    speed_up: Annotated[
        float,
        typer.Option(
            rich_help_panel=SENDING,
            help="The emulator's: everything is sent so many times as fast, and figures scaled back.",
        ),
    ] = 1.0,
    max_inflight: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=SENDING,
            min=1,
            help="Requests under way at once; further ones wait, and it is reported.",
            show_default="4096",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=SENDING, help="Give a request up after so many seconds.", show_default="never"
        ),
    ] = None,
    drain: Annotated[
        float,
        typer.Option(
            rich_help_panel=SENDING,
            min=0.0,
            help="Seconds to wait at the end for answers under way; then they are cut.",
        ),
    ] = 0.0,
    late_after: Annotated[
        float,
        typer.Option(
            rich_help_panel=SENDING,
            min=0.001,
            help="Call a request late that is sent so many real seconds after it was due.",
        ),
    ] = 0.05,
    compare_with_twin: Annotated[
        bool,
        typer.Option(
            "--compare-with-twin",
            rich_help_panel=PREDICTION,
            help="Have the twin predict the same requests on one replica.",
        ),
    ] = False,
    max_loras: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=PREDICTION, min=1, help="The server's slots.", show_default="one for each adapter"
        ),
    ] = None,
    max_lora_rank: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=PREDICTION,
            help="The server's --max-lora-rank.",
            show_default="the adapters' largest",
        ),
    ] = None,
    max_cpu_loras: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=PREDICTION, min=1, help="The server's --max-cpu-loras.", show_default="all"
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=PREDICTION,
            help="Percent by which predicted throughput and inter-token latency may differ from measured.",
        ),
    ] = None,
    allow_failures: Annotated[
        bool,
        typer.Option(
            "--allow-failures", rich_help_panel=OUTPUT, help="Exit with 0 although requests failed."
        ),
    ] = False,
    output: Annotated[
        str, typer.Option("--output", "-o", rich_help_panel=OUTPUT, help="table | json")
    ] = "table",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", rich_help_panel=OUTPUT, help="Also write all figures here.", metavar="FILE"),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(rich_help_panel=OUTPUT, help="Also write every request here, as CSV.", metavar="FILE"),
    ] = None,
) -> None:
    """Send open-loop traffic to an OpenAI-compatible server, and measure what comes back, per adapter.

    The traffic is a --file, a --trace, or --adapters with --rates or --zipf, as `adaptwin twin run` takes
    them; the same seed gives the very same requests. An adapter's name is the model that is asked.
    Latencies, throughput and served fractions are defined as in the twin's report.

    Exit code 0: done; 1: requests failed, or the prediction is outside --tolerance; 2: bad input, or no
    server; 3: this client could not send in time, so the figures say little of the server; 130: interrupted,
    and the figures until then are shown.
    """
    from adapter_operator.load import command  # noqa: PLC0415 - keeps --help quick
    from adapter_operator.load.payload import PayloadRules  # noqa: PLC0415
    from adapter_operator.load.sending import SendingRules  # noqa: PLC0415

    _check(output, speed_up, timeout)
    _check_source(file, trace, adapters)
    if compare_with_twin and profile is None:
        raise LoadError("--compare-with-twin: needs --profile, that of the server's model and GPU")
    if tolerance is not None and not compare_with_twin:
        raise LoadError("--tolerance: needs --compare-with-twin")
    low, high = _token_range(token_ids)
    raise typer.Exit(
        command.run(
            command.LoadOptions(
                target=Target.at(url, api_key, host),
                workload=options.WorkloadOptions(
                    adapters=adapters,
                    rates=rates,
                    total_rate=total_rate,
                    zipf=zipf,
                    ranks=ranks,
                    arrivals=arrivals,
                    prompt_tokens=prompt_tokens,
                    output_tokens=output_tokens,
                    correlation=correlation,
                    workload=file,
                    trace=trace,
                    adapter_column=adapter_column,
                    trace_start=trace_start,
                    trace_speed=trace_speed,
                    duration=duration,
                    seed=seed,
                ),
                payload=PayloadRules(endpoint, model, ignore_eos, low, high),
                sending=SendingRules(endpoint, speed_up, max_inflight, timeout),
                profile=profile,
                prediction=(
                    command.Prediction(max_loras, max_lora_rank, max_cpu_loras, tolerance)
                    if compare_with_twin
                    else None
                ),
                drain_s=drain,
                late_after_s=late_after,
                allow_failures=allow_failures,
                output=output,
                json_file=json_file,
                requests_file=requests,
            )
        )
    )


def _check(output: str, speed_up: float, timeout: float | None) -> None:
    if output not in OUTPUTS:
        raise LoadError(f"--output: {output} is not one of {', '.join(OUTPUTS)}")
    for option, value in (("--speed-up", speed_up), ("--timeout", timeout)):
        if value is not None and not 0 < value < float("inf"):
            raise LoadError(f"{option}: {value:g} is not allowed, it must be positive")


def _check_source(file: Path | None, trace: Path | None, adapters: int | None) -> None:
    if file is None and trace is None and adapters is None:
        raise LoadError("--file: missing; give --file, --trace or --adapters, which say what to send")
    for option, value in (("--trace", trace), ("--adapters", adapters)):
        if file is not None and value is not None:
            raise LoadError(f"{option}: does not go with --file")


def _token_range(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    if not (dash and low.isdecimal() and high.isdecimal() and int(low) < int(high)):
        raise LoadError(f"--token-ids: {text!r} is not a range such as {LOWEST_TOKEN}-{HIGHEST_TOKEN}")
    return int(low), int(high)
