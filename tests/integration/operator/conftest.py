"""The operator as a process of its own, as the chart's ServiceAccount, against the real API server."""

from __future__ import annotations

import json
import secrets
import signal
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controlplane import chart, processes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping

    from controlplane.cluster import Cluster

OPERATOR = (str(Path(sys.executable).with_name("adaptwin")), "operator", "run")
CHART = Path(__file__).parents[3] / "charts" / "adaptwin"
COMMON = ("--metrics-port=0", "--liveness-port=0", "--log-format=json")
DEADLINE_S = 60.0
START_WITHIN_S = 280.0
"""The first start on a machine compiles the twin."""
STOP_WITHIN_S = 30.0
LOG_TAIL = 6000


@dataclass
class OperatorProcess:
    """A running operator and what it logs."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def decisions(self, namespace: str) -> list[dict[str, Any]]:
        """The audit log's lines on a namespace's objects."""
        audit = (line for line in self.lines() if line["logger"] == "adaptwin.audit")
        return [line for line in audit if line["object"].startswith(f"{namespace}/")]

    def leads(self) -> bool:
        return any(line["message"] == "leading" for line in self.lines())

    def wait_until(self, message: str) -> None:
        """Waits until it logs a message."""
        end = time.monotonic() + START_WITHIN_S
        while not any(line["message"] == message for line in self.lines()):
            assert self.process.poll() is None, f"the operator ended:\n{self.log.read_text()[-LOG_TAIL:]}"
            assert time.monotonic() < end, f"not logged within {START_WITHIN_S:g} s: {message}"
            time.sleep(0.1)

    def stop(self) -> int:
        """Ends it as Kubernetes does, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_WITHIN_S)


@dataclass
class Kubernetes:
    """What a test does and sees in its namespace, as admin."""

    cluster: Cluster
    namespace: str

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.cluster.apply(*objects, namespace=self.namespace)

    def patch(self, name: str, patch: Mapping[str, Any]) -> None:
        """Merges into an AdapterDeployment."""
        self.cluster.kubectl(
            "patch", "adep", name, "-n", self.namespace, "--type=merge", "-p", json.dumps(patch)
        )

    def delete(self, kind: str, name: str) -> None:
        self.cluster.kubectl("delete", kind, name, "-n", self.namespace, "--wait=false")

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "-n", self.namespace)

    def list(self, kind: str, deployment: str | None = None) -> list[dict[str, Any]]:
        selector = [] if deployment is None else ["-l", f"adaptwin.io/deployment={deployment}"]
        return self.cluster.get(kind, "-n", self.namespace, *selector)["items"]

    def conditions(self, name: str) -> dict[str, dict[str, Any]]:
        """The conditions of an AdapterDeployment by type."""
        status = self.get("adep", name).get("status", {})
        return {condition["type"]: condition for condition in status.get("conditions", ())}

    def condition(self, name: str, type_: str) -> tuple[str, str]:
        """Status and reason of a condition that speaks of the present spec; empty until it does."""
        item = self.get("adep", name)
        for condition in item.get("status", {}).get("conditions", ()):
            current = condition["observedGeneration"] == item["metadata"]["generation"]
            if condition["type"] == type_ and current:
                return condition["status"], condition["reason"]
        return "", ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """The Events about an AdapterDeployment, oldest first."""
        found = self.list("events.events.k8s.io")
        ours = [event for event in found if event["regarding"]["name"] == name]
        return sorted(ours, key=lambda event: event["eventTime"])

    def eventually(self, look: Callable[[], Any], wanted: Any = None, within_s: float = DEADLINE_S) -> Any:
        """Looks until it sees what is wanted (anything true, where nothing is said), and returns it."""
        end, seen = time.monotonic() + within_s, None
        while time.monotonic() < end:
            seen = look()
            if bool(seen) if wanted is None else seen == wanted:
                return seen
            time.sleep(0.1)
        pytest.fail(f"not seen within {within_s:g} s; last seen: {seen!r}", pytrace=True)


@dataclass
class Starter:
    """Starts operators, and ends those that a test leaves running."""

    arguments: tuple[str, ...]
    folder: Path
    started: list[OperatorProcess] = field(default_factory=list)

    def __call__(self, *options: str, program: tuple[str, ...] = OPERATOR) -> OperatorProcess:
        """Starts one, and waits until it is ready to plan (which it may be before it leads)."""
        number = len(self.started)
        log = self.folder / f"operator-{number}.log"
        command = [*program, *self.arguments, *COMMON, f"--identity=operator-{number}", *options]
        log.touch()
        operator = OperatorProcess(processes.spawn(command, log, tied=True), log)
        self.started.append(operator)
        operator.wait_until("ready to plan")
        return operator

    def close(self) -> None:
        processes.end(operator.process for operator in self.started)


@pytest.fixture
def kubernetes(cluster, namespace) -> Kubernetes:
    return Kubernetes(cluster, namespace)


@pytest.fixture
def start_operator(operator_kubeconfig, namespace, tmp_path, request) -> Iterator[Starter]:
    """Starts operators as the chart's ServiceAccount with the chart's rights, in this namespace alone."""
    kubeconfig = operator_kubeconfig(namespace, f"operator.namespaces={{{namespace}}}")
    place = (f"--kubeconfig={kubeconfig}", f"--namespace={namespace}", f"--lease-namespace={namespace}")
    starter = Starter(place, tmp_path)
    with closing(starter):
        yield starter
    log = "\n".join(operator.log.read_text()[-LOG_TAIL:] for operator in starter.started)
    request.node.add_report_section("teardown", "operator log", log)


@pytest.fixture(scope="module")
def operator_of_all_namespaces(cluster, helm, tmp_path_factory) -> Iterator[OperatorProcess]:
    """One operator for a module's tests, as the chart's ServiceAccount with the chart's rights."""
    home, folder = f"operator-{secrets.token_hex(4)}", tmp_path_factory.mktemp("operator")
    objects = chart.render(helm, CHART, "adaptwin", home)
    identity = chart.identity(objects)
    cluster.kubectl("create", "namespace", home)
    cluster.apply(*identity, namespace=home)
    kubeconfig = cluster.service_account_kubeconfig(
        folder / "operator.kubeconfig", home, chart.service_account(objects)
    )
    starter = Starter((f"--kubeconfig={kubeconfig}", "--all-namespaces", f"--lease-namespace={home}"), folder)
    with closing(starter):
        yield starter()
    cluster.delete(identity, namespace=home)
    cluster.kubectl("delete", "namespace", home, "--wait=false")


@pytest.fixture
def operator(operator_of_all_namespaces, request) -> Iterator[OperatorProcess]:
    """The module's operator; what it logs during a test is shown where the test fails."""
    before = len(operator_of_all_namespaces.log.read_text())
    assert operator_of_all_namespaces.process.poll() is None, "the operator has ended"
    yield operator_of_all_namespaces
    log = operator_of_all_namespaces.log.read_text()[before:][-LOG_TAIL:]
    request.node.add_report_section("teardown", "operator log", log)


@pytest.fixture
def make_deployment() -> Callable[..., dict[str, Any]]:
    """A small AdapterDeployment that is quick to plan and to verify."""

    def make(
        name: str = "llama", *, adapters: int = 4, rate: str = "0.05", rank: int = 8, **spec: Any
    ) -> dict[str, Any]:
        listed = [
            {"name": f"tenant-{n:03}", "rank": rank, "rate": rate, "source": {"path": f"/adapters/{n:03}"}}
            for n in range(adapters)
        ]
        base = yaml.safe_load(BASE)
        return {
            "apiVersion": "adaptwin.io/v1alpha1",
            "kind": "AdapterDeployment",
            "metadata": {"name": name},
            "spec": base | {"adapters": listed} | spec,
        }

    return make


BASE = """
model:
  name: llama-3.1-8b-instruct
  source: {huggingFace: {repository: meta-llama/Llama-3.1-8B-Instruct}}
profile: {name: llama-3.1-8b-instruct-h100-64gb}
verification: {horizon: 10m, seeds: 1}
"""
