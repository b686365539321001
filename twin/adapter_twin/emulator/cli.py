"""The command `adaptwin emulate`."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperGroup

from adapter_twin.emulator.flags import flags_help, parse_flags

_USAGE = """\
Usage: adaptwin emulate [MODEL] [--profile NAME] [vLLM's own flags]

vLLM's HTTP server without a GPU: its API, errors and metrics, timed by the digital twin's engine.

Environment: VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 lets adapters be loaded and unloaded, VLLM_API_KEY and
VLLM_HTTP_TIMEOUT_KEEP_ALIVE are heeded as by vLLM.
"""


class _WholeLine(TyperGroup):
    """A command that reads all of its arguments itself, since most of its flags are vLLM's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep them."""
        ctx.meta["arguments"] = list(args)
        return []

    def invoke(self, ctx: Any) -> Any:
        """Serve until told to stop."""
        arguments = ctx.meta["arguments"]
        if {"-h", "--help"} & set(arguments):
            typer.echo(f"{_USAGE}\n{flags_help()}")
            return
        settings, ignored = parse_flags(arguments, os.environ)
        from adapter_twin.emulator.run import serve  # noqa: PLC0415 - keeps --help quick

        raise typer.Exit(serve(settings, ignored))


app = typer.Typer(cls=_WholeLine, help="Serve vLLM's HTTP API without a GPU, timed by the digital twin.")


@app.callback()
def emulate() -> None:
    """Serve vLLM's HTTP API without a GPU, timed by the digital twin."""
