"""The AdapterDeployment in a file: read again when it changes, as if it had been applied anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter_operator.api.load import load_adapter_deployment
from adapter_operator.api.v1alpha1 import KIND
from adapter_operator.api.yaml_text import read_yaml
from adapter_operator.errors import SpecError
from adapter_operator.reconcile.values import ObjectKey

if TYPE_CHECKING:
    from pathlib import Path

UID = "local"


class ResourceFile:
    """The object as an API server would give it."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            SpecError: it holds no valid AdapterDeployment.
        """
        self._path = path
        self._stamp = path.stat().st_mtime_ns if path.exists() else 0
        metadata = load_adapter_deployment(path).metadata
        self.key = ObjectKey(metadata.namespace, metadata.name)
        self.status: dict[str, Any] = {}
        self._generation = 1
        self._item = self._read()

    def _read(self) -> dict[str, Any]:
        items = read_yaml(self._path.read_text(encoding="utf-8"), str(self._path))
        found: dict[str, Any] = next(item for item in items if item.get("kind") == KIND)
        return found

    def look(self) -> str:
        """Read the file again if it has changed; what is wrong with it, where it cannot be used."""
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp == self._stamp:
                return ""
            self._stamp = stamp
            load_adapter_deployment(self._path)
            item = self._read()
        except (OSError, SpecError) as error:
            return str(error)
        if item["spec"] != self._item["spec"]:
            self._item = item
            self._generation += 1
        return ""

    def get(self) -> dict[str, Any]:
        """The object with its status."""
        metadata = self._item["metadata"] | {
            "namespace": self.key.namespace,
            "uid": UID,
            "generation": self._generation,
        }
        return {**self._item, "metadata": metadata, "status": dict(self.status)}
