"""The command `adaptwin agent`."""

import asyncio
import contextlib
import re
import signal
from pathlib import Path
from typing import Annotated

import typer

from adapter_operator.agent.run import run_agent
from adapter_operator.agent.settings import AgentSettings
from adapter_operator.kubernetes.logs import configure_logging
from adapter_operator.settings import LogFormat, LogLevel

app = typer.Typer(
    help="Keep the adapters of the engine beside it.", no_args_is_help=True, add_completion=False
)

_DEFAULTS = AgentSettings()


@app.callback()
def agent() -> None:
    """Keep the adapters of the engine beside it."""


@app.command()
def run(
    assignment: Annotated[
        Path | None,
        typer.Option(
            help="The assignment: a file, or the folder of a mounted ConfigMap with a key per pod ordinal."
        ),
    ] = None,
    pod_name: Annotated[
        str,
        typer.Option(envvar="POD_NAME", help="This pod's name; its ordinal chooses the file in that folder."),
    ] = "",
    engine_url: Annotated[str, typer.Option(help="The engine.")] = _DEFAULTS.engine_url,
    engine_api_key: Annotated[
        str, typer.Option(envvar="VLLM_API_KEY", help="The engine's API key.", show_default=False)
    ] = "",
    adapters: Annotated[
        Path, typer.Option(help="Folder of adapters; the engine mounts it at the same path.")
    ] = _DEFAULTS.adapters,
    volumes: Annotated[
        Path, typer.Option(help="Where PersistentVolumeClaims of adapters are mounted, by claim.")
    ] = _DEFAULTS.volumes,
    max_lora_rank: Annotated[
        int | None,
        typer.Option(min=1, help="The engine's --max-lora-rank; higher ranks are refused at once."),
    ] = None,
    address: Annotated[str, typer.Option(help="Where the agent listens.")] = _DEFAULTS.address,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port.")] = _DEFAULTS.port,
    token: Annotated[
        str,
        typer.Option(
            envvar="ADAPTWIN_AGENT_TOKEN",
            help="What a posted assignment must bear; none are taken without.",
            show_default=False,
        ),
    ] = "",
    log_format: Annotated[LogFormat, typer.Option(help="How log lines are written.")] = "json",
    log_level: Annotated[LogLevel, typer.Option(help="The least severe line that is written.")] = "info",
) -> None:
    """Load, replace and unload adapters as the assignment says, until stopped."""
    settings = AgentSettings(
        engine_url=engine_url,
        engine_api_key=engine_api_key,
        assignment=_file(assignment, pod_name),
        adapters=adapters,
        volumes=volumes,
        max_lora_rank=max_lora_rank,
        address=address,
        port=port,
        token=token,
    )
    configure_logging(log_format, log_level)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_until_stopped(settings))


async def _until_stopped(settings: AgentSettings) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run_agent(settings)


def _file(assignment: Path | None, pod_name: str) -> Path | None:
    """The file to follow: in a folder, the one named by the pod's ordinal."""
    if assignment is None or not assignment.is_dir():
        return assignment
    ordinal = re.search(r"-(\d+)$", pod_name)
    if ordinal is None:
        raise typer.BadParameter(
            f"--pod-name: {pod_name!r} does not end in an ordinal, as a StatefulSet's pods do"
        )
    return assignment / ordinal[1]
