"""What `adaptwin load` does, apart from its options."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import signal
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console

from adapter_operator.load.comparison import Compared, compared, outside, predict
from adapter_operator.load.errors import LoadError
from adapter_operator.load.measuring import Measured, measure
from adapter_operator.load.payload import PayloadRules, Payloads
from adapter_operator.load.preflight import served_models
from adapter_operator.load.progress import showing
from adapter_operator.load.rendering import client_warnings, render, write_requests
from adapter_operator.load.sending import DEFAULT_MAX_INFLIGHT, Run, Sender, SendingRules
from adapter_operator.load.traffic import Traffic, read_traffic
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.outputs import require_writable, write_text, written_whole
from adapter_twin.profile.store import load_any_profile
from adapter_twin.replica import ReplicaConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adapter_operator.load.target import Target
    from adapter_twin.workload_options import WorkloadOptions

DONE: Final = 0
FAILED: Final = 1
NOT_OPEN_LOOP: Final = 3
INTERRUPTED: Final = 130

WIDTH_WITHOUT_TERMINAL: Final = 150
NAMED_MODELS: Final = 5
_SPARE_FILES: Final = 64


@dataclass(frozen=True)
class Prediction:
    """How the server is configured, so that the twin can say what it should do."""

    max_loras: int | None = None
    max_lora_rank: int | None = None
    max_cpu_loras: int | None = None
    tolerance_percent: float | None = None


@dataclass(frozen=True)
class LoadOptions:
    """The options of the command."""

    target: Target
    workload: WorkloadOptions
    payload: PayloadRules
    sending: SendingRules
    profile: str | None = None
    prediction: Prediction | None = None
    drain_s: float = 0.0
    late_after_s: float = 0.05
    allow_failures: bool = False
    output: str = "table"
    json_file: Path | None = None
    requests_file: Path | None = None


def run(options: LoadOptions) -> int:
    """Send, measure, show; the exit code."""
    for path, option in ((options.json_file, "--json"), (options.requests_file, "--requests")):
        if path is not None:
            require_writable(path, option)
    profile = load_any_profile(options.profile) if options.profile else None
    traffic = read_traffic(options.workload, profile)
    _require_base_model(traffic, options.payload)
    payloads = Payloads(traffic, options.payload, options.workload.seed)
    options = replace(options, sending=_allowed(options.sending))
    config = _replica(options.prediction, traffic) if options.prediction else None
    for note in traffic.notes:
        typer.echo(f"note: {note}", err=True)
    outcome = asyncio.run(_send(options, traffic, payloads))
    if outcome.interrupted:
        traffic = traffic.until(outcome.real_s * options.sending.speed_up)
    measured = measure(outcome, traffic, speed_up=options.sending.speed_up, late_after_s=options.late_after_s)
    figures: tuple[Compared, ...] = ()
    if config is not None and profile is not None:
        figures = compared(predict(profile, config, traffic), measured)
    _write(options, measured, figures, outcome, traffic, payloads)
    return _exit_code(options, measured, figures)


def _require_base_model(traffic: Traffic, rules: PayloadRules) -> None:
    if traffic.base_requests and not rules.base_model:
        raise LoadError(
            f"--model: {traffic.base_requests:,} requests name no adapter; say the base model's name"
        )


def _allowed(rules: SendingRules) -> SendingRules:
    """As many connections as this process may have, each of which is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard - _SPARE_FILES
    wanted = rules.max_inflight or min(DEFAULT_MAX_INFLIGHT, most)
    if wanted > most:
        raise LoadError(
            f"--max-inflight: {wanted} is not allowed, this machine lets a process open {hard} files; "
            f"at most {most}"
        )
    if soft < wanted + _SPARE_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + _SPARE_FILES, hard))
    return replace(rules, max_inflight=wanted)


def _replica(prediction: Prediction, traffic: Traffic) -> ReplicaConfig:
    """The server as `adaptwin twin run` would take it from the same options."""
    largest = max((adapter.rank for adapter in traffic.adapters), default=ALLOWED_LORA_RANKS[0])
    slots, rank = prediction.max_loras, prediction.max_lora_rank
    return ReplicaConfig(
        max_loras=len(traffic.adapters) if slots is None else slots,
        max_lora_rank=largest if rank is None else rank,
        max_cpu_loras=prediction.max_cpu_loras,
    )


async def _send(options: LoadOptions, traffic: Traffic, payloads: Payloads) -> Run:
    _warn_of_missing(await served_models(options.target), traffic, options.payload)
    sender = Sender(options.target, traffic, payloads, options.sending)
    gc.collect()
    gc.freeze()  # or collections would walk through every module while tokens wait
    with _stopping(sender):
        async with showing(sender, traffic, options.sending.speed_up):
            return await sender.send(options.drain_s)


@contextmanager
def _stopping(sender: Sender) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the sending, not the program."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, sender.stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _warn_of_missing(served: frozenset[str] | None, traffic: Traffic, rules: PayloadRules) -> None:
    if served is None:
        return
    asked = [adapter.name for adapter in traffic.adapters] + [rules.base_model] * bool(traffic.base_requests)
    missing = [name for name in asked if name not in served]
    if missing:
        shown = ", ".join(missing[:NAMED_MODELS]) + (", …" if len(missing) > NAMED_MODELS else "")
        typer.echo(
            f"warning: the server does not list {len(missing):,} of {len(asked):,} models: {shown}", err=True
        )


def _write(
    options: LoadOptions,
    measured: Measured,
    figures: tuple[Compared, ...],
    outcome: Run,
    traffic: Traffic,
    payloads: Payloads,
) -> None:
    for warning in client_warnings(measured.client):
        typer.echo(f"warning: {warning}", err=True)
    if options.requests_file is not None:
        with written_whole(options.requests_file) as file:
            write_requests(file, outcome.records, traffic, payloads, options.sending.speed_up)
    document = json.dumps(_document(options, measured, figures), allow_nan=False)
    if options.json_file is not None:
        write_text(options.json_file, document + "\n")
    if options.output == "json":
        typer.echo(document)
    else:
        width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
        render(Console(highlight=False, width=width), measured, figures)


def _document(options: LoadOptions, measured: Measured, figures: tuple[Compared, ...]) -> dict[str, Any]:
    document = {"url": options.target.url, "seed": options.workload.seed} | measured.to_dict()
    if figures:
        document["comparison"] = {
            figure.name: {name: _finite(value) for name, value in _shown(figure).items()}
            for figure in figures
        }
    return document


def _shown(figure: Compared) -> dict[str, Any]:
    return {
        **{name: value for name, value in asdict(figure).items() if name != "name"},
        "error_percent": figure.error_percent,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value - value != 0 else value


def _exit_code(options: LoadOptions, measured: Measured, figures: tuple[Compared, ...]) -> int:
    if measured.interrupted:
        return INTERRUPTED
    if not measured.client.kept_up:
        return NOT_OPEN_LOOP
    failed = bool(measured.failures) and not options.allow_failures
    tolerance = options.prediction.tolerance_percent if options.prediction else None
    apart = outside(figures, tolerance) if tolerance is not None else ()
    for figure in apart:
        typer.echo(
            f"{figure.name} was predicted {figure.error_percent:+.1f} % from what was measured, "
            f"more than {tolerance:g} %",
            err=True,
        )
    return FAILED if failed or apart else DONE
