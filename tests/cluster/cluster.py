"""A Kubernetes control plane by hand: ``python tests/cluster/cluster.py up|down|path|build``.

``up`` starts one that stays and prints how to reach it; ``down`` ends it. ``path`` prints where the programs
are, after it has fetched those that are missing; ``build`` builds them all from Go modules.
"""

# ruff: noqa: T201 - a command prints
from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from controlplane import pins as pinned
from controlplane import programs
from controlplane.errors import StartError, Unavailable
from controlplane.plane import ControlPlane, is_running, stop_detached
from controlplane.progress import Reporter

if TYPE_CHECKING:
    from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("up", "down", "path", "build"))
    command = parser.parse_args(arguments).command
    try:
        {"up": _up, "down": _down, "path": _path, "build": _build}[command]()
    except (Unavailable, StartError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _up() -> None:
    folder = _run_folder()
    if not is_running(folder):
        stop_detached(folder)
        paths = programs.obtain(_own_cluster(), Reporter())
        ControlPlane(paths, folder, tied=False).start()
    print(f"export KUBECONFIG={folder / 'admin.kubeconfig'}")


def _down() -> None:
    if not stop_detached(_run_folder()):
        print("nothing is running", file=sys.stderr)


def _path() -> None:
    for path in programs.obtain(_own_cluster(), Reporter()).values():
        print(path)


def _build() -> None:
    print(programs.rebuild(os.environ, Reporter()))


def _own_cluster() -> dict[str, str]:
    """The environment of somebody who wants a control plane of their own."""
    return {name: value for name, value in os.environ.items() if name != "USE_EXISTING_CLUSTER"}


def _run_folder() -> Path:
    return programs.cache_folder(os.environ, pinned.read_pins()) / "run"


if __name__ == "__main__":
    sys.exit(main())
