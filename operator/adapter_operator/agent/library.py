"""The folder of adapters: fetched once, checked before anything is loaded, one path per version.

A version's path is `ROOT/VERSION`. What is fetched is completed elsewhere and then renamed, so that a path
that exists is whole; what lies on a volume already is linked to.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapter_operator.agent.errors import AdapterError, Reason
from adapter_operator.agent.lifecycle import Files

if TYPE_CHECKING:
    from adapter_operator.agent.sources import Fetched, Source

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
_PARTIAL: Final = ".partial-"
_DIGITS: Final = 16


@dataclass(frozen=True)
class Library:
    """The adapters' folder, which the engine mounts at the same path.

    Attributes:
        root: The folder.
        max_lora_rank: The engine's; files of a higher rank cannot be loaded.
    """

    root: Path
    max_lora_rank: int | None = None

    def prepare(self) -> None:
        """Make the folder; remove what an interrupted run left."""
        self.root.mkdir(parents=True, exist_ok=True)
        for left in self.root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)

    def obtain(self, source: Source, rank: int) -> Files:
        """The files of a source, fetched and checked.

        Args:
            source: Where they come from.
            rank: The rank that was planned with.

        Raises:
            AdapterError: they cannot be had, or are not what they should be.
        """
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.root))
        try:
            fetched = source.fetch(partial)
            self._check(fetched.folder, rank)
            version = fetched.version or _digest(fetched)
            return Files(version, str(self._place(fetched, version, partial)))
        except OSError as error:
            reason = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
            raise AdapterError(Reason.SOURCE_UNREACHABLE, f"{source}: {reason}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _check(self, folder: Path, rank: int) -> None:
        config = _read_config(folder)
        if not any((folder / name).is_file() for name in WEIGHTS):
            raise AdapterError(Reason.INVALID_ADAPTER, f"no weights: one of {', '.join(WEIGHTS)} is needed")
        found = config.get("r")
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise AdapterError(Reason.INVALID_ADAPTER, f"{CONFIG}: r is {found!r}; it must be the rank")
        allowed = min(rank, self.max_lora_rank or rank)
        if found > allowed:
            limit = "the rank that was declared" if rank == allowed else "the engine's max-lora-rank"
            raise AdapterError(Reason.RANK_TOO_HIGH, f"{CONFIG}: r is {found}, above {allowed}, {limit}")

    def _place(self, fetched: Fetched, version: str, partial: Path) -> Path:
        """Put the files at their version's path, at once."""
        path = self.root / version
        if path.exists():
            return path
        if fetched.stays:
            link = partial / "link"
            link.symlink_to(fetched.folder, target_is_directory=True)
            link.rename(path)
            return path
        try:
            fetched.folder.rename(path)
        except OSError:
            if not path.exists():  # somebody else was quicker
                raise
        return path

    def keep_only(self, versions: set[str]) -> None:
        """Remove the files of all other versions."""
        for entry in self.root.iterdir():
            if entry.name in versions or entry.name.startswith(_PARTIAL):
                continue
            if entry.is_symlink():
                entry.unlink()
            elif entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(Reason.INVALID_ADAPTER, f"{CONFIG} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AdapterError(Reason.INVALID_ADAPTER, f"{CONFIG} is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise AdapterError(Reason.INVALID_ADAPTER, f"{CONFIG} is not an object")
    return config


def _digest(fetched: Fetched) -> str:
    """Names the content: of fetched files all bytes count, of others their size and time of change."""
    digest = hashlib.sha256()
    if fetched.stays:
        digest.update(str(fetched.folder.resolve()).encode())
    for path in sorted(path for path in fetched.folder.rglob("*") if path.is_file()):
        digest.update(f"\0{path.relative_to(fetched.folder)}\0".encode())
        if fetched.stays:
            status = path.stat()
            digest.update(f"{status.st_size}\0{status.st_mtime_ns}".encode())
        else:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]
