"""Where the programs come from, in this order.

1. ``USE_EXISTING_CLUSTER``: no control plane is started; only the clients are needed.
2. ``KUBEBUILDER_ASSETS``: a folder, as envtest has it.
3. The cache.
4. Official releases, where the internet is there.
5. A build from Go modules.

Each program is taken from the first that has it: envtest's folder holds no controller manager, for example.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane import pins as pinned
from controlplane.build import build
from controlplane.download import download
from controlplane.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from controlplane.pins import Pins
    from controlplane.progress import Reporter

    Source = Callable[[Collection[str], Path, Pins, Reporter], None]
    """Puts programs into a folder, or raises Unavailable."""

RECORD = "versions.json"
"""In the cache: which version each program was fetched as."""


@dataclass(frozen=True)
class Machine:
    """What is at hand before anything is fetched.

    Attributes:
        existing_cluster: Whether the tests use somebody's cluster.
        assets: Programs of ``KUBEBUILDER_ASSETS``.
        cached: Programs of the cache, at their pinned versions.
    """

    existing_cluster: bool = False
    assets: Mapping[str, Path] = field(default_factory=dict)
    cached: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """What is taken from where it lies, and what must be fetched."""

    present: Mapping[str, Path]
    missing: tuple[str, ...]


def choose(machine: Machine) -> Choice:
    """Which programs are used from where, assets before the cache."""
    needed = pinned.CLIENTS if machine.existing_cluster else pinned.ALL
    at_hand = {**machine.cached, **machine.assets}
    present = {name: at_hand[name] for name in needed if name in at_hand}
    return Choice(present, tuple(name for name in needed if name not in present))


def obtain(
    environment: Mapping[str, str], reporter: Reporter, sources: Sequence[Source] = (download, build)
) -> dict[str, Path]:
    """The paths of the programs that the tests need; fetches into the cache what is missing.

    Raises:
        Unavailable: Some program cannot be had; the message says what each source answered.
    """
    pins = pinned.read_pins()
    choice = choose(look(environment, pins))
    if not choice.missing:
        return dict(choice.present)
    cache = cache_folder(environment, pins)
    with _locked(cache, reporter):
        choice = choose(look(environment, pins))  # another process may have fetched them meanwhile
        if choice.missing:
            _fetch(choice.missing, cache, pins, reporter, sources)
    return dict(choose(look(environment, pins)).present)


def rebuild(environment: Mapping[str, str], reporter: Reporter) -> Path:
    """Builds every program into the cache, whatever is there; returns the cache's folder.

    Raises:
        Unavailable: The build is not possible here.
    """
    pins = pinned.read_pins()
    cache = cache_folder(environment, pins)
    with _locked(cache, reporter):
        _fetch(pinned.ALL, cache, pins, reporter, [build])
    return cache


def look(environment: Mapping[str, str], pins: Pins) -> Machine:
    """Looks at the environment and into the cache."""
    cache = cache_folder(environment, pins)
    versions = _read_record(cache)
    cached = {name: path for name, path in _programs_in(cache).items() if pins.satisfied_by(name, versions)}
    assets = environment.get("KUBEBUILDER_ASSETS")
    return Machine(uses_existing(environment), _programs_in(Path(assets)) if assets else {}, cached)


def uses_existing(environment: Mapping[str, str]) -> bool:
    """Whether ``USE_EXISTING_CLUSTER`` says so."""
    return environment.get("USE_EXISTING_CLUSTER", "").lower() in {"1", "true", "yes"}


def cache_folder(environment: Mapping[str, str], pins: Pins) -> Path:
    """The cache of one Kubernetes version."""
    root = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "adaptwin" / "kubernetes" / pins.kubernetes


def _fetch(
    programs: Collection[str], cache: Path, pins: Pins, reporter: Reporter, sources: Sequence[Source]
) -> None:
    answers = []
    for source in sources:
        try:
            with _staging(cache) as folder:
                source(programs, folder, pins, reporter)
                _keep(programs, folder, cache, pins)
        except Unavailable as error:
            answers.append(str(error))
            reporter.say(str(error))
        else:
            reporter.say(f"{', '.join(sorted(programs))} are kept in {cache}")
            return
    raise Unavailable("; ".join([f"{', '.join(programs)} cannot be had", *answers]))


def _keep(programs: Collection[str], folder: Path, cache: Path, pins: Pins) -> None:
    """Moves programs into the cache, each at once, and records them last."""
    for name in programs:
        (folder / name).replace(cache / name)
    versions = {**_read_record(cache), **{name: pins.of(name) for name in programs}}
    record = folder / RECORD
    record.write_text(json.dumps(versions, indent=2, sort_keys=True), encoding="utf-8")
    record.replace(cache / RECORD)


@contextmanager
def _staging(cache: Path) -> Iterator[Path]:
    """A folder on the cache's file system, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".fetching-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(cache: Path, reporter: Reporter) -> Iterator[None]:
    """Holds the cache's lock; the kernel frees it however the holder ends."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.say("another process is fetching the programs; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_record(cache: Path) -> dict[str, str]:
    try:
        return json.loads((cache / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _programs_in(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in pinned.ALL if os.access(folder / name, os.X_OK)}
