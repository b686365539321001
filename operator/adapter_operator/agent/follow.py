"""Following the assignment in a mounted ConfigMap: a file per pod ordinal, replaced as a whole."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from adapter_operator.assignment import Assignment, AssignmentError

if TYPE_CHECKING:
    from pathlib import Path

    from adapter_operator.agent.keeper import Keeper

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0


async def follow(path: Path, keeper: Keeper) -> None:
    """Hand every assignment in the file to the keeper; a bad one is logged and changes nothing."""
    seen: str | None = None
    while True:
        text = await asyncio.to_thread(_read, path)
        if text is not None and text != seen:
            seen = text
            try:
                keeper.assign(Assignment.from_json(text))
            except AssignmentError as error:
                logger.error("%s: %s", path, error)  # noqa: TRY400 - no trace is needed
        await asyncio.sleep(LOOK_EVERY_S)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
