"""How far a long piece of work is: a bar on a terminal, a line a minute in a pod's log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S: Final = 60.0

Done = Callable[[int], None]
"""Takes how many pieces are done."""


@contextmanager
def counted(what: str, total: int) -> Iterator[Done]:
    """Progress over `total` pieces, with the time that is left, on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Log(console, what, total).tell
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def stepped(what: str, total: int) -> Iterator[Callable[[], None]]:
    """The same for pieces that are told one by one."""
    with counted(what, total) as tell:
        done = iter(range(1, total + 1))
        yield lambda: tell(next(done, total))


@dataclass
class _Log:
    """Lines for those who read them later.

    Attributes:
        console: Where they go.
        what: What is counted.
        total: How many there will be.
        began: When, and with how many, counting began.
        told_s: When the last line was written.
    """

    console: Console
    what: str
    total: int
    began: tuple[float, int] | None = None
    told_s: float = 0.0

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began, self.told_s = (now, done), now
        elif now - self.told_s >= _LINE_EVERY_S:
            self.told_s = now
            since, first = self.began
            left_s = (now - since) * (self.total - done) / max(1, done - first)
            line = f"{self.what}: {done:,} of {self.total:,}, about {left_s / 60.0:.0f} min left"
            self.console.print(line, highlight=False)
