"""A cluster for a test session, or for a person at a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane import programs as program_sources
from controlplane.cluster import Cluster
from controlplane.errors import Unavailable
from controlplane.plane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def running(programs: Mapping[str, Path], environment: Mapping[str, str], folder: Path) -> Iterator[Cluster]:
    """The existing cluster that the environment names, else a control plane of our own.

    Args:
        programs: What ``programs.obtain`` gave.
        environment: The process's environment variables.
        folder: For the control plane's files.
    """
    if program_sources.uses_existing(environment):
        yield Cluster(existing_kubeconfig(environment), programs, existing=True)
        return
    plane = ControlPlane(programs, folder)
    kubeconfig = plane.start()
    try:
        yield Cluster(kubeconfig, programs)
    finally:
        plane.stop()


def existing_kubeconfig(environment: Mapping[str, str]) -> Path:
    """The kubeconfig of ``USE_EXISTING_CLUSTER``.

    Raises:
        Unavailable: It is not there.
    """
    named = environment.get("KUBECONFIG", "").split(":")[0]
    path = Path(named) if named else Path.home() / ".kube" / "config"
    if not path.is_file():
        raise Unavailable(f"USE_EXISTING_CLUSTER is set, but there is no kubeconfig at {path}")
    return path
