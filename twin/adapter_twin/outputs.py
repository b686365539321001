"""Checks of output files, made before the long work whose result they shall hold."""

from pathlib import Path

from adapter_twin.errors import AdaptwinError

IMAGE_SUFFIXES = (".svg", ".png", ".pdf")


def require_writable(path: Path, option: str) -> None:
    """Refuse a path that could not be written later.

    Raises:
        AdaptwinError: its folder does not exist, or it is itself a folder.
    """
    if not path.parent.is_dir() or path.is_dir():
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
