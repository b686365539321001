"""Builds the programs from the Go modules that go.mod and go.sum pin."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from controlplane import golang
from controlplane.errors import Unavailable
from controlplane.pins import FOLDER, KUBERNETES_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from controlplane.golang import Go
    from controlplane.pins import Pins
    from controlplane.progress import Reporter

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "helm": "helm.sh/helm/v4/cmd/helm",
    **{name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS},
}
OUTPUT_NAMES = {"etcd": "server"}
"""Go names a program after its package's folder."""
VERSION_PACKAGE = "k8s.io/component-base/version"
ERROR_LINES = 5


def build(programs: Collection[str], folder: Path, pins: Pins, reporter: Reporter) -> None:
    """Builds programs into a folder; minutes from scratch, half a minute from a warm build cache.

    Raises:
        Unavailable: There is no Go, no module proxy, or the build failed.
    """
    reporter.say(f"building {', '.join(sorted(programs))} (Kubernetes {pins.kubernetes}) from Go modules")
    packages = [PACKAGES[name] for name in programs]
    with golang.toolchain(pins.go, reporter) as go:
        with reporter.task("fetching Go modules", None, "modules") as advance:
            total = len(_run(go, ["list", "-deps", *packages], advance, "go: downloading"))
        with reporter.task("compiling", total, "packages (those cached are skipped)") as advance:
            flags = ["-v", "-trimpath", "-buildvcs=false", f"-ldflags={linker_flags(pins.kubernetes)}"]
            _run(go, ["build", *flags, "-o", f"{folder}/", *packages], advance)
    for program, name in OUTPUT_NAMES.items():
        if program in programs:
            (folder / name).rename(folder / program)


def linker_flags(version: str) -> str:
    """What makes a Kubernetes program know its version, and keeps it small."""
    major, minor, *_ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s", "-w", *(f"-X {VERSION_PACKAGE}.{key}={value}" for key, value in values.items())])


def _run(go: Go, arguments: list[str], advance: Callable[[int], None], counted: str = "") -> list[str]:
    """Runs Go in the module's folder; each line of its log that starts with ``counted`` is progress."""
    environment = {**os.environ, **go.environment, "CGO_ENABLED": "0"}
    process = subprocess.Popen(
        [str(go.program), *arguments],
        cwd=FOLDER,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines = []
    with process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            advance(int(line.startswith(counted)))
    said = [line for line in lines if not line.startswith("go: downloading")]
    if process.returncode:
        reasons = list(dict.fromkeys(said))[-ERROR_LINES:]
        raise Unavailable(f"go {arguments[0]} failed: {'; '.join(reasons)}")
    return said
