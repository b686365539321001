"""What every source does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Fetched:
    """Files that were fetched, not yet checked.

    Attributes:
        folder: Where they lie.
        version: Names their content, where the source knows it.
        stays: Whether they lie where they belong, and are only to be linked to.
    """

    folder: Path
    version: str = ""
    stays: bool = False


class Source(Protocol):
    """Where the files of one adapter come from."""

    def fetch(self, folder: Path) -> Fetched:
        """Fetch the files into an empty folder, or say where they lie already.

        Raises:
            AdapterError: they are not there, cannot be reached, or are not what was announced.
        """

    def __str__(self) -> str: ...
