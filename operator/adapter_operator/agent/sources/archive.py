"""Adapters in an archive that is fetched over HTTP."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from adapter_operator.agent.errors import AdapterError, Reason
from adapter_operator.agent.sources.base import Fetched

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S: Final = 60.0
MAX_BYTES: Final = 16 << 30
_CHUNK: Final = 1 << 20
_DIGITS: Final = 16
_NOT_FOUND: Final = frozenset({401, 403, 404, 410})


@dataclass(frozen=True)
class HttpArchive:
    """A tar (also compressed) or zip archive."""

    url: str
    sha256: str | None = None

    def fetch(self, folder: Path) -> Fetched:
        """Download, check the digest, unpack."""
        archive = folder / "archive"
        digest = self._download(archive)
        if self.sha256 is not None and digest != self.sha256:
            raise AdapterError(
                Reason.CHECKSUM_MISMATCH, f"{self}: its SHA-256 is {digest}, not {self.sha256} as announced"
            )
        unpacked = folder / "unpacked"
        unpacked.mkdir()
        try:
            _unpack(archive, unpacked)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise AdapterError(Reason.INVALID_ADAPTER, f"{self}: cannot be unpacked ({error})") from error
        return Fetched(_top(unpacked), digest[:_DIGITS])

    def _download(self, target: Path) -> str:
        digest, size = hashlib.sha256(), 0
        try:
            with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as answer, target.open("wb") as file:  # noqa: S310 - http(s) by the schema
                while chunk := answer.read(_CHUNK):
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise AdapterError(Reason.INVALID_ADAPTER, f"{self}: more than {MAX_BYTES >> 30} GiB")
                    digest.update(chunk)
                    file.write(chunk)
        except urllib.error.HTTPError as error:
            reason = Reason.SOURCE_NOT_FOUND if error.code in _NOT_FOUND else Reason.SOURCE_UNREACHABLE
            with error:  # it holds the connection
                raise AdapterError(reason, f"{self}: HTTP {error.code} {error.reason}") from error
        except (urllib.error.URLError, TimeoutError) as error:
            raise AdapterError(Reason.SOURCE_UNREACHABLE, f"{self}: {error}") from error
        return digest.hexdigest()

    def __str__(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack without letting anything out of the folder."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)  # noqa: S202 - zipfile keeps within the folder; sizes are bounded by the volume
        return
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")


def _top(folder: Path) -> Path:
    """The folder that holds the files: archives often have a single folder on top."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
