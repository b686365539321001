"""Versions of the programs: go.mod is the one place that says them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).resolve().parent.parent
"""The folder of go.mod and go.sum."""

KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
CLIENTS = ("kubectl", "helm")
ALL = CONTROL_PLANE + CLIENTS


@dataclass(frozen=True)
class Pins:
    """Exact versions, each with its leading ``v``; Go's without."""

    kubernetes: str
    etcd: str
    helm: str
    go: str

    def of(self, program: str) -> str:
        """The version at which a program is wanted."""
        return {"etcd": self.etcd, "helm": self.helm}.get(program, self.kubernetes)

    def satisfied_by(self, program: str, versions: Mapping[str, str]) -> bool:
        """Whether a record of versions (program -> version) holds the program at its pin."""
        return versions.get(program) == self.of(program)


def read_pins(go_mod: Path = FOLDER / "go.mod") -> Pins:
    """The pins of a go.mod."""
    text = go_mod.read_text(encoding="utf-8")

    def required(module: str) -> str:
        match = re.search(rf"^\s*{re.escape(module)} (v\S+)", text, re.MULTILINE)
        if match is None:
            raise ValueError(f"{go_mod} does not require {module}")
        return match[1]

    go = re.search(r"^go (\S+)", text, re.MULTILINE)
    if go is None:
        raise ValueError(f"{go_mod} has no go line")
    return Pins(
        kubernetes=required("k8s.io/kubernetes"),
        etcd=required("go.etcd.io/etcd/server/v3"),
        helm=required("helm.sh/helm/v4"),
        go=go[1],
    )
