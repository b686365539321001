"""A routing table in a file that is replaced whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from adapter_operator.gateway.document import read_table
from adapter_operator.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from adapter_operator.gateway.routing import RoutingTable

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.1


async def tables_in(path: Path) -> AsyncIterator[RoutingTable]:
    """The table in the file, and every one that replaces it; a bad one is logged and changes nothing."""
    seen: tuple[int, int] | None = None
    while True:
        stamp = _stamp(path)
        if stamp is not None and stamp != seen:
            seen = stamp
            try:
                yield await asyncio.to_thread(_read, path)
            except (GatewayError, OSError, UnicodeDecodeError) as error:
                logger.error("the routing table stays as it was: %s", error)  # noqa: TRY400 - no trace is needed
        await asyncio.sleep(LOOK_EVERY_S)


def _read(path: Path) -> RoutingTable:
    return read_table(path.read_text(encoding="utf-8"), path.name)


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when the file does: a rename brings another inode, a write another time."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
