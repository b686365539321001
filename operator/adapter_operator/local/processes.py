"""Child processes that are started again when they end, and that never outlive this one."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 10.0
STEADY_S: Final = 10.0
"""A process that lived so long is started again without delay."""
GRACE_S: Final = 5.0

_PR_SET_PDEATHSIG: Final = 1
_prctl = ctypes.CDLL(None).prctl


@dataclass(frozen=True)
class Program:
    """What to run.

    Attributes:
        name: For people, and of its log.
        command: The command line.
        environment: Variables beside those of this process.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A program that is kept running."""

    def __init__(self, program: Program, logs: Path) -> None:
        self.program = program
        self.log = logs / f"{program.name}.log"
        self.starts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    def start(self) -> None:
        """Keep it running from now on."""
        self._task = asyncio.create_task(self._keep(), name=self.program.name)

    async def stop(self) -> None:
        """End it for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def kill(self) -> None:
        """End it at once, as a crash would; it will be started again."""
        if self.pid is not None:
            os.killpg(self.pid, signal.SIGKILL)

    async def _keep(self) -> None:
        loop, delay_s = asyncio.get_running_loop(), FIRST_DELAY_S
        while True:
            started_s = loop.time()
            await self._run_once()
            steady = loop.time() - started_s > STEADY_S
            await asyncio.sleep(0.0 if steady else delay_s)
            delay_s = FIRST_DELAY_S if steady else min(LONGEST_DELAY_S, 2 * delay_s)

    async def _run_once(self) -> None:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.program.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._process = process
        self.starts += 1
        try:
            await process.wait()
        finally:
            await _end(process)

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


async def _end(process: asyncio.subprocess.Process) -> None:
    """Terminate a process and all that it started; kill what does not go."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _die_with_parent() -> None:
    """Runs in the child, before the program: the kernel kills it when this process ends, however it does."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])
