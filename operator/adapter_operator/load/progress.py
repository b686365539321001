"""What happens while it happens: a line on stderr, only on a terminal."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapter_operator.load.sending import Sender
    from adapter_operator.load.traffic import Traffic

_LOOK_S: Final = 0.25


@asynccontextmanager
async def showing(sender: Sender, traffic: Traffic, speed_up: float) -> AsyncIterator[None]:
    """Show how far it is, and what came back."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} s"),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("sending", total=traffic.duration_s, state="")

        async def look() -> None:
            while True:
                now_s = sender.now_s() * speed_up
                progress.update(
                    task,
                    completed=min(now_s, traffic.duration_s),
                    description=_phase(traffic, now_s),
                    state=_state(sender),
                    refresh=True,
                )
                await asyncio.sleep(_LOOK_S)

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait((looking,))


def _phase(traffic: Traffic, now_s: float) -> str:
    names = [phase.name for phase in traffic.phases if phase.start_s <= now_s]
    return escape(names[-1]) if names and names[-1] else "sending"


def _state(sender: Sender) -> str:
    run = sender.run
    failed = f", [red]{run.failed:,} failed[/red]" if run.failed else ""
    return f"{len(run.records):,} sent, {run.in_flight:,} under way, {run.completed:,} completed{failed}"
