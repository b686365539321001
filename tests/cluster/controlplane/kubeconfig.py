"""Kubeconfig files."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from controlplane.pki import Pair


def with_certificate(server: str, authority: bytes, pair: Pair) -> dict[str, Any]:
    """A kubeconfig that authenticates by client certificate."""
    user = {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}
    return _kubeconfig({"server": server, "certificate-authority-data": _base64(authority)}, user)


def with_token(admin: dict[str, Any], token: str, namespace: str) -> dict[str, Any]:
    """A kubeconfig for the same cluster as ``admin``'s current context that authenticates by bearer token."""
    name = _named(admin["contexts"], admin["current-context"])["context"]["cluster"]
    cluster = _named(admin["clusters"], name)["cluster"]
    return _kubeconfig(cluster, {"token": token}, namespace)


def write(path: Path, content: dict[str, Any]) -> Path:
    """Writes a kubeconfig, readable by the owner only."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _kubeconfig(cluster: dict[str, Any], user: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    name = "adaptwin-test"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
