"""Kubernetes programs for every test that asks for them; see docs/testing.md."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from controlplane.errors import Unavailable
from controlplane.programs import obtain
from controlplane.progress import Reporter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROGRAMS = pytest.StashKey["dict[str, Path] | Unavailable"]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetches the programs before the first test: a first build takes longer than a test may."""
    if session.config.option.collectonly:
        return
    if any("programs" in getattr(item, "fixturenames", ()) for item in session.items):
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            session.config.stash[PROGRAMS] = _obtain()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    programs = config.stash.get(PROGRAMS, None)
    if isinstance(programs, Unavailable):
        terminalreporter.section("TESTS THAT NEED KUBERNETES DID NOT RUN", yellow=True, bold=True)
        terminalreporter.line(str(programs))


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Mapping[str, Path]:
    """Paths of etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and helm."""
    programs = pytestconfig.stash[PROGRAMS]
    if not isinstance(programs, Unavailable):
        return programs
    if _required():
        pytest.fail("Kubernetes is required here, and cannot be had: see the end of this log", pytrace=False)
    pytest.skip("Kubernetes cannot be had: see the end of this log")


@pytest.fixture(scope="session")
def helm(programs: Mapping[str, Path]) -> Path:
    """The helm program."""
    return programs["helm"]


def _obtain() -> dict[str, Path] | Unavailable:
    try:
        return obtain(os.environ, Reporter())
    except Unavailable as error:
        return error


def _required() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("ADAPTWIN_REQUIRE_CLUSTER") == "1"
