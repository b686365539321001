"""Long-running programs: started with a log, ended with their whole process group."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LAUNCHER = Path(__file__).with_name("launch.py")
GRACE_S = 5.0
POLL_S = 0.02
PORTS = range(20_000, 32_000)


def spawn(command: Sequence[str], log: Path, *, tied: bool) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own, its output in ``log``.

    Args:
        command: The program's path and its arguments.
        log: Where stdout and stderr go.
        tied: Whether the program is killed when this process ends, even by a crash.
    """
    launcher = [sys.executable, "-IS", str(LAUNCHER), str(os.getpid())] if tied else []
    with log.open("ab") as output:
        return subprocess.Popen(
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ends process groups: politely, then, after a grace time, for good."""
    processes = list(processes)
    for process in processes:
        signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            signal_group(process.pid, signal.SIGKILL)
            process.wait()


def end_detached(pids: Iterable[int]) -> None:
    """Ends the process groups of another process's children."""
    pids = list(pids)
    for pid in pids:
        signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for pid in pids:
        signal_group(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process exists and has not ended (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists() and _exists(pid)
    return state != "Z"


def signal_group(group: int, number: signal.Signals) -> None:
    """Signals a process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody listens on, all different.

    They lie below those that the kernel gives to outgoing connections, one of which might otherwise take a
    port before its program does.
    """
    ports: list[int] = []
    candidates = iter(random.sample(PORTS, len(PORTS)))
    while len(ports) < count:
        port = next(candidates)
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
