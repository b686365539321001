"""Output files: checked before the long work whose result they hold, and written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from adapter_twin.errors import AdaptwinError

IMAGE_SUFFIXES = (".svg", ".png", ".pdf")


def require_writable(path: Path, option: str) -> None:
    """Refuse a path that could not be written later.

    Raises:
        AdaptwinError: its folder does not exist or is closed to us, or it is itself a folder.
    """
    if not path.parent.is_dir() or path.is_dir() or not os.access(_touched(path), os.W_OK):
        raise AdaptwinError(f"{option}: {path} cannot be written; name a file in a folder that exists")


def require_image(path: Path, option: str) -> None:
    """Refuse a path that could not be drawn into later.

    Raises:
        AdaptwinError: it cannot be written, or its suffix is no image format.
    """
    if path.suffix not in IMAGE_SUFFIXES:
        allowed = ", ".join(IMAGE_SUFFIXES)
        raise AdaptwinError(f"{option}: {path} is no image; name a file that ends in {allowed}")
    require_writable(path, option)


@contextmanager
def written_whole(path: Path) -> Iterator[IO[str]]:
    """A text file that is never half there: what it held before stays until the new text is complete.

    A link stays one, and what is no file, such as a pipe, is written to directly.

    Raises:
        AdaptwinError: the file cannot be written.
    """
    direct, target = _is_special(path), path.resolve()
    beside = path if direct else target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            yield file
        if not direct:
            beside.replace(target)
    except OSError as error:
        raise AdaptwinError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if not direct:
            beside.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _touched(path: Path) -> Path:
    """What must be open to us: the folder that gets a new file, or what is there and is no file."""
    return path if _is_special(path) else path.resolve().parent


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        AdaptwinError: the file cannot be written.
    """
    with written_whole(path) as file:
        file.write(text)
