"""Why an adapter cannot be served: typed, for states, metrics and conditions."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from adapter_twin.errors import AdaptwinError

LONGEST_MESSAGE: Final = 500


class Reason(StrEnum):
    """What went wrong with an adapter."""

    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_UNREACHABLE = "SourceUnreachable"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    INVALID_ADAPTER = "InvalidAdapter"
    RANK_TOO_HIGH = "RankTooHigh"
    ENGINE_REFUSED = "EngineRefused"
    ENGINE_UNREACHABLE = "EngineUnreachable"

    @property
    def passes(self) -> bool:
        """Whether trying again may help before anything changes."""
        return self in {Reason.SOURCE_UNREACHABLE, Reason.ENGINE_UNREACHABLE}


class AdapterError(AdaptwinError):
    """An adapter that cannot be had, or not be loaded.

    Attributes:
        reason: The kind of trouble.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(" ".join(message.split())[:LONGEST_MESSAGE])
        self.reason = reason


def not_installed(error: ModuleNotFoundError) -> str:
    """What to do where a source's library is missing."""
    return f"{error.name} is not installed: pip install 'adaptwin[agent]'"
