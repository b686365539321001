"""Adapters that lie on a volume already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter_operator.agent.errors import AdapterError, Reason
from adapter_operator.agent.sources.base import Fetched

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LocalFolder:
    """A folder that the engine can read too."""

    path: Path

    def fetch(self, folder: Path) -> Fetched:  # noqa: ARG002 - nothing is copied
        """The folder itself."""
        if not self.path.is_dir():
            raise AdapterError(Reason.SOURCE_NOT_FOUND, f"{self.path} is no folder")
        return Fetched(self.path, stays=True)

    def __str__(self) -> str:
        return str(self.path)
