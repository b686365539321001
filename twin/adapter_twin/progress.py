"""Progress bars: on stderr, only on a terminal, and gone when the work is done."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POLL_S = 0.1


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar over a number of things; call what it yields with how many are done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def watching(what: str, end: float, now: Callable[[], float]) -> Iterator[None]:
    """A bar from 0 to `end` that looks at `now()` from a thread of its own, so that nothing is slowed."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    seconds = TextColumn("{task.completed:,.0f} of {task.total:,.0f} s")
    columns = (TextColumn("{task.description}"), BarColumn(), seconds, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task(what, total=end)
        stopped = threading.Event()

        def look() -> None:
            while not stopped.wait(_POLL_S):
                progress.update(task, completed=now(), refresh=True)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
