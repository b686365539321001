"""The command `adaptwin local`."""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from adapter_operator.kubernetes.logs import configure_logging
from adapter_operator.local.cluster import Emulation
from adapter_operator.local.demo import run_demo
from adapter_operator.local.run import run_local
from adapter_operator.local.system import LocalSettings
from adapter_twin.outputs import require_writable

app = typer.Typer(
    help="Run the whole system on this machine, without a GPU.", no_args_is_help=True, add_completion=False
)

_DEFAULTS = Emulation()


@app.callback()
def local() -> None:
    """Run the whole system on this machine, without a GPU."""


@app.command()
def up(
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The AdapterDeployment; read again when it changes.")
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where clients connect; 0: any free one.")
    ] = 8080,
    speed_up: Annotated[
        float, typer.Option(min=0.1, max=100.0, help="Emulated seconds per real second.")
    ] = _DEFAULTS.speed_up,
    gpus: Annotated[
        int, typer.Option(min=1, help="GPUs that this machine pretends to have.")
    ] = _DEFAULTS.gpus,
    startup_delay: Annotated[
        float, typer.Option(min=0.0, help="Seconds that an emulated engine takes to start.")
    ] = _DEFAULTS.startup_delay_s,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="What is to go wrong in the engines, as `adaptwin emulate --fault` takes it."),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after so many seconds; until Ctrl-C if absent.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="For logs and files of all processes; a temporary one if absent.")
    ] = None,
    view: Annotated[bool, typer.Option(help="Draw a live view where there is a terminal.")] = True,
) -> None:
    """Start emulated replicas with their agents, a gateway with Envoy, and the loop that plans and verifies.

    Ctrl-C ends all of it.
    """
    configure_logging("plain", "error")
    emulation = Emulation(speed_up, startup_delay, gpus, tuple(fault or ()))
    with _folder(folder) as place:
        settings = LocalSettings(file, place, port, emulation)
        live = view and sys.stdout.isatty()
        with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
            asyncio.run(_until_stopped(settings, duration, live=live))


@app.command()
def demo(
    report: Annotated[Path | None, typer.Option(help="Write a page about it here.", metavar="HTML")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="For logs and files of all processes; a temporary one if absent.")
    ] = None,
) -> None:
    """See traffic shift and grow, the operator plan anew, the twin verify, and adapters move. Takes a minute.

    Exit code 0: all went as it was told to; 1: something did not.
    """
    configure_logging("plain", "error")
    if report is not None:
        require_writable(report, "--report")
    with _folder(folder) as place:
        good = asyncio.run(run_demo(place, report, typer.echo))
    raise typer.Exit(0 if good else 1)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder that was given, or one that goes when it is no longer needed."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="adaptwin-") as folder:
        yield Path(folder)


async def _until_stopped(settings: LocalSettings, duration_s: float | None, *, live: bool) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run_local(settings, duration_s, live=live)
