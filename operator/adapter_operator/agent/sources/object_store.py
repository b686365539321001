"""Adapters under a prefix of an S3-compatible object store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapter_operator.agent.errors import AdapterError, Reason, not_installed
from adapter_operator.agent.sources.base import Fetched

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class S3Prefix:
    """All objects under `s3://bucket/prefix/`; credentials come from the environment, as usual for S3."""

    uri: str
    endpoint: str | None = None

    def fetch(self, folder: Path) -> Fetched:
        """Download all objects under the prefix."""
        target = folder / "objects"
        try:
            store = self._store()
            prefix = self.uri.removeprefix("s3://").rstrip("/")
            if not store.find(prefix):
                raise AdapterError(Reason.SOURCE_NOT_FOUND, f"{self}: there is nothing under this prefix")
            store.get(f"{prefix}/", f"{target}/", recursive=True)
        except (FileNotFoundError, PermissionError) as error:
            raise AdapterError(Reason.SOURCE_NOT_FOUND, f"{self}: {error or 'not allowed'}") from error
        except OSError as error:
            raise AdapterError(Reason.SOURCE_UNREACHABLE, f"{self}: {error}") from error
        return Fetched(target)

    def _store(self) -> Any:
        try:
            import s3fs  # noqa: PLC0415 - heavy, and only needed here
        except ModuleNotFoundError as error:
            raise AdapterError(Reason.SOURCE_NOT_FOUND, not_installed(error)) from error

        return s3fs.S3FileSystem(
            endpoint_url=self.endpoint, skip_instance_cache=True, use_listings_cache=False
        )

    def __str__(self) -> str:
        return self.uri
