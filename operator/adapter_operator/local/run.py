"""Runs the local system for people: with a live view on a terminal, with a line for each event elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live

from adapter_operator.local.system import LocalSettings, LocalSystem
from adapter_operator.local.view import View
from adapter_operator.reconcile.planner import InlinePlanner

if TYPE_CHECKING:
    from adapter_operator.local.events import Event

REDRAW_S: Final = 1.0


async def run_local(settings: LocalSettings, duration_s: float | None = None, *, live: bool = False) -> None:
    """Run the system until cancelled, or for a while.

    Args:
        settings: What to run.
        duration_s: Seconds; for ever where None.
        live: Whether to draw.
    """
    console = Console()
    async with AsyncExitStack() as stack:
        planner = stack.enter_context(contextlib.closing(InlinePlanner()))
        system = LocalSystem(settings, planner)
        if not live:
            system.events.listen(lambda event: _print(console, event))
        await stack.enter_async_context(system.running())
        system.events.tell("Normal", "Listening", f"{system.url}; logs are in {settings.folder}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_draw(console, system) if live else asyncio.Event().wait(), duration_s)


def _print(console: Console, event: Event) -> None:
    console.print(str(event), soft_wrap=True, highlight=False, markup=False)


async def _draw(console: Console, system: LocalSystem) -> None:
    view = View(system)
    with Live(view, console=console, auto_refresh=False, screen=True) as drawing:
        while True:
            drawing.update(view, refresh=True)
            await asyncio.sleep(REDRAW_S)
