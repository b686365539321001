"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback."""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane import kubeconfig, pki, processes
from controlplane.errors import StartError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

LOOPBACK = "127.0.0.1"
SERVICE_CIDR = "10.96.0.0/24"
SERVICE_HOST = "10.96.0.1"
READY_TIMEOUT_S = 120.0
POLL_S = 0.05
LOG_TAIL_LINES = 15
DATA_PREFIX = "adaptwin-etcd-"
CLIENTS = {
    "admin": ("adaptwin-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager",),
    "kube-scheduler": ("system:kube-scheduler",),
}
"""Who gets a kubeconfig: user, then groups."""


class ControlPlane:
    """A control plane in a folder: ``start`` gives its admin kubeconfig, ``stop`` leaves only the logs.

    Args:
        programs: The four programs' paths by name.
        folder: For keys, kubeconfigs and ``log/``; made if it is not there.
        tied: Whether everything is killed when this process ends, even by a crash. Without it the control
            plane outlives its starter, and ``stop_detached`` ends it.
    """

    def __init__(self, programs: Mapping[str, Path], folder: Path, *, tied: bool = True) -> None:
        self.folder = folder.resolve()
        self._programs = programs
        self._tied = tied
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._data: Path | None = None

    @property
    def logs(self) -> Path:
        """The folder of the programs' logs."""
        return self.folder / "log"

    def start(self) -> Path:
        """Starts everything and waits until it serves; returns the admin's kubeconfig.

        Raises:
            StartError: A program ended, or the time was up.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        ports = processes.free_ports(5)
        server = f"https://{LOOPBACK}:{ports[2]}"
        self._write_keys(server)
        try:
            self._start_etcd(*ports[:2])
            self._run("kube-apiserver", *_apiserver_flags(self.folder / "pki", *ports[1:3]))
            self._wait_for(f"{server}/readyz")
            self._run("kube-controller-manager", *_controller_manager_flags(self.folder, ports[3]))
            self._run("kube-scheduler", *_scheduler_flags(self.folder, ports[4]))
            self._wait_for(f"{server}/api/v1/namespaces/default/serviceaccounts/default")
        except BaseException:
            self.stop()
            raise
        self._write_state()
        return self.folder / "admin.kubeconfig"

    def stop(self) -> None:
        """Ends the programs, etcd after those that write to it, and drops etcd's data."""
        etcd = self._processes.pop("etcd", None)
        processes.end(self._processes.values())
        processes.end([etcd] if etcd else [])
        self._processes.clear()
        if self._data:
            shutil.rmtree(self._data, ignore_errors=True)

    def _write_keys(self, server: str) -> None:
        folder = self.folder / "pki"
        folder.mkdir(exist_ok=True)
        authority = pki.Authority()
        authority.pair.write(folder, "ca")
        pki.write_service_account_keys(folder)
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        authority.server("kube-apiserver", [*names, LOOPBACK, SERVICE_HOST]).write(folder, "apiserver")
        for name, user in CLIENTS.items():
            pair = authority.client(*user)
            pair.write(folder, name)
            content = kubeconfig.with_certificate(server, authority.pair.certificate, pair)
            kubeconfig.write(self.folder / f"{name}.kubeconfig", content)

    def _start_etcd(self, peer_port: int, port: int) -> None:
        memory = Path("/dev/shm")
        drop_left_behind(memory)
        self._data = Path(tempfile.mkdtemp(prefix=DATA_PREFIX, dir=memory if memory.is_dir() else None))
        self._run("etcd", *_etcd_flags(self._data, peer_port, port))
        (self._data / "pid").write_text(str(self._processes["etcd"].pid), encoding="utf-8")

    def _run(self, program: str, *flags: str) -> None:
        command = [str(self._programs[program]), *flags]
        self._processes[program] = processes.spawn(command, self._log(program), tied=self._tied)

    def _wait_for(self, url: str) -> None:
        keys = self.folder / "pki"
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _serves(url, context):
            self._check_running()
            if time.monotonic() > deadline:
                raise StartError(f"{url} did not answer within {READY_TIMEOUT_S:g} s\n{self._tails()}")
            time.sleep(POLL_S)

    def _check_running(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise StartError(f"{name} ended with code {process.returncode}\n{self._tail(name)}")

    def _log(self, program: str) -> Path:
        return self.logs / f"{program}.log"

    def _tail(self, program: str) -> str:
        lines = self._log(program).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"--- {self._log(program)}", *lines[-LOG_TAIL_LINES:]])

    def _tails(self) -> str:
        return "\n".join(map(self._tail, self._processes))

    def _write_state(self) -> None:
        state = {
            "processes": [process.pid for process in reversed(self._processes.values())],
            "data": str(self._data),
        }
        _state_file(self.folder).write_text(json.dumps(state), encoding="utf-8")


def stop_detached(folder: Path) -> bool:
    """Ends the control plane that another process left running in a folder; False where there is none."""
    try:
        state = json.loads(_state_file(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    processes.end_detached(state["processes"])
    shutil.rmtree(state["data"], ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return True


def is_running(folder: Path) -> bool:
    """Whether a folder's control plane still has all its processes."""
    try:
        state = json.loads(_state_file(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return all(map(processes.alive, state["processes"]))


def drop_left_behind(parent: Path) -> None:
    """Removes the data of etcds that were killed together with their starters."""
    for data in parent.glob(f"{DATA_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            if not processes.alive(int((data / "pid").read_text(encoding="utf-8"))):
                shutil.rmtree(data, ignore_errors=True)


def _state_file(folder: Path) -> Path:
    return folder / "state.json"


def _serves(url: str, context: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2, context=context):
            return True
    except OSError:
        return False


def _etcd_flags(data: Path, peer_port: int, port: int) -> list[str]:
    client, peer = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{peer_port}"
    return [
        "--name=test",
        f"--data-dir={data / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver_flags(keys: Path, etcd_port: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={port}",
        "--endpoint-reconciler-type=none",  # it refuses to advertise a loopback address
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-priority-and-fairness=false",
        "--profiling=false",
        "--goaway-chance=0",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
    ]


def _controller_manager_flags(folder: Path, port: int) -> list[str]:
    keys = folder / "pki"
    return [
        *_component_flags(folder / "kube-controller-manager.kubeconfig", port),
        "--controllers=*,-node-ipam-controller,-node-route-controller",
        "--use-service-account-credentials=true",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def _scheduler_flags(folder: Path, port: int) -> list[str]:
    return _component_flags(folder / "kube-scheduler.kubeconfig", port)


def _component_flags(config: Path, port: int) -> list[str]:
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--profiling=false",
    ]
