"""Says what takes time, on a terminal and in a log."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_EVERY_S = 15.0


class Reporter:
    """Lines, and bars where somebody watches; in a log a line now and then."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, soft_wrap=True)

    def say(self, text: str) -> None:
        """Prints one line."""
        self._console.print(f"cluster: {text}", markup=False, highlight=False)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        """Follows a task of ``total`` units; yields a function that takes how many more are done."""
        shown = self._bar(title, total) if self._console.is_terminal else self._lines(title, total, unit)
        with shown as advance:
            yield advance

    @contextmanager
    def _bar(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("cluster: {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda count: progress.advance(task, count)

    @contextmanager
    def _lines(self, title: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        start = spoken = time.monotonic()
        done = 0
        of = "" if total is None else f" of {total}"

        def advance(count: int) -> None:
            nonlocal done, spoken
            done += count
            now = time.monotonic()
            if now - spoken >= LINE_EVERY_S:
                spoken = now
                self.say(f"{title}: {done}{of} {unit}, {now - start:.0f} s")

        self.say(title)
        yield advance
        self.say(f"{title}: done in {time.monotonic() - start:.0f} s")
