"""The operator's identity, as its Helm chart installs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from controlplane.cluster import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

IDENTITY_KINDS = frozenset({"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})


def render(
    helm: Path, chart: Path, release: str, namespace: str, values: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The objects that ``helm template`` makes of a chart; ``values`` are ``--set`` arguments."""
    sets = [f"--set={value}" for value in values]
    text = run([str(helm), "template", release, str(chart), f"--namespace={namespace}", *sets])
    return [each for each in yaml.safe_load_all(text) if each]


def identity(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ServiceAccount and its rights, without what runs."""
    return [each for each in objects if each["kind"] in IDENTITY_KINDS]


def service_account(objects: Iterable[dict[str, Any]]) -> str:
    """The name of the ServiceAccount as which the chart's Deployment runs."""
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["serviceAccountName"]
