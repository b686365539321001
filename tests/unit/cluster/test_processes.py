"""Programs end with their starter, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from controlplane import processes
from controlplane.plane import DATA_PREFIX, drop_left_behind

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
STUBBORN = [*SLEEP[:2], DEAF + SLEEP[2]]


def wait_until_up(log: Path) -> None:
    deadline = time.monotonic() + 10
    while "up" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("command", [SLEEP, STUBBORN], ids=["polite", "stubborn"])
def test_end_ends_them(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.3)
    process = processes.spawn(command, tmp_path / "log", tied=True)
    wait_until_up(tmp_path / "log")
    assert processes.alive(process.pid)
    processes.end([process])
    assert not processes.alive(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_tied_program_dies_with_a_killed_starter(tmp_path: Path):
    script = f"""
import sys, time
sys.path[:0] = {sys.path!r}
from pathlib import Path
from controlplane import processes
process = processes.spawn({SLEEP!r}, Path({str(tmp_path / "log")!r}), tied=True)
Path({str(tmp_path / "pid")!r}).write_text(str(process.pid))
time.sleep(60)
"""
    starter = subprocess.Popen([sys.executable, "-c", script])
    wait_until_up(tmp_path / "log")
    pid = int((tmp_path / "pid").read_text())
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    deadline = time.monotonic() + 5
    while processes.alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_untied_program_is_ended_by_its_number(tmp_path: Path):
    process = processes.spawn(SLEEP, tmp_path / "log", tied=False)
    wait_until_up(tmp_path / "log")
    processes.end_detached([process.pid])
    assert process.wait() == -signal.SIGTERM


def test_free_ports_are_different():
    assert len(set(processes.free_ports(5))) == 5


def test_data_of_a_dead_etcd_is_dropped_and_that_of_a_living_one_kept(tmp_path: Path):
    dead, living = tmp_path / f"{DATA_PREFIX}dead", tmp_path / f"{DATA_PREFIX}living"
    for folder, pid in ((dead, 2**22 + 1), (living, os.getpid())):
        folder.mkdir()
        (folder / "pid").write_text(str(pid))
    drop_left_behind(tmp_path)
    assert living.exists()
    assert not dead.exists()
