"""What a test holds in its hand: a running cluster, its admin, and the programs that talk to it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from kubernetes import client as k8s
from kubernetes import config

from controlplane import kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

COMMAND_TIMEOUT_S = 180.0


class CommandError(Exception):
    """A command failed; the message holds the command and what it said."""


@dataclass(frozen=True)
class Cluster:
    """A cluster with an admin's rights.

    Attributes:
        kubeconfig: The admin's kubeconfig file.
        programs: Paths of at least ``kubectl`` and ``helm``.
        existing: Whether somebody else runs it (``USE_EXISTING_CLUSTER``).
    """

    kubeconfig: Path
    programs: Mapping[str, Path]
    existing: bool = False

    def client(self, path: Path | None = None) -> k8s.ApiClient:
        """A client of the official library: the admin's, or that of another kubeconfig."""
        return config.new_client_from_config(str(path or self.kubeconfig))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl as admin and returns what it prints.

        Raises:
            CommandError: It failed.
        """
        return run([str(self.programs["kubectl"]), f"--kubeconfig={self.kubeconfig}", *arguments], stdin)

    def get(self, *arguments: str) -> dict[str, Any]:
        """``kubectl get``: an object or a list, as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any], namespace: str = "default") -> None:
        """Applies objects server-side; ``namespace`` is for those that name none."""
        if objects:
            text = yaml.safe_dump_all(objects)
            self.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", stdin=text)

    def apply_files(self, *paths: Path, namespace: str = "default") -> None:
        """Applies the objects of YAML files server-side."""
        for path in paths:
            self.kubectl("apply", "--server-side", "-n", namespace, "-f", str(path))

    def delete(self, objects: Iterable[Mapping[str, Any]], namespace: str = "default") -> None:
        """Deletes objects, those that are gone already too, without waiting."""
        text = yaml.safe_dump_all(list(objects))
        flags = ("--ignore-not-found", "--wait=false", "-n", namespace)
        self.kubectl("delete", *flags, "-f", "-", stdin=text)

    def service_account_kubeconfig(self, path: Path, namespace: str, name: str) -> Path:
        """Writes a kubeconfig that holds a fresh one-hour token of a ServiceAccount, and nothing else."""
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=1h").strip()
        admin = yaml.safe_load(self.kubectl("config", "view", "--raw", "--minify", "--flatten"))
        return kubeconfig.write(path, kubeconfig.with_token(admin, token, namespace))


def run(command: list[str], stdin: str | None = None) -> str:
    """Runs a command that must succeed, and returns what it prints.

    Raises:
        CommandError: It did not.
    """
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    if result.returncode:
        raise CommandError(f"{' '.join(command)}\n{result.stderr.strip()}")
    return result.stdout
