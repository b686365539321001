"""What became of every request; each has exactly one fate."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.engine.state import FINISHED, REJECTED, WAITING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.fleet.server import Server


class Fate(IntEnum):
    """The fates."""

    UNROUTED = 0
    """No copy of its adapter was routed to when it arrived."""
    WAITING = 1
    """In a replica's queue at the end, or on its way there."""
    RUNNING = 2
    """Being computed at the end."""
    COMPLETED = 3
    REJECTED = 4
    """Turned away by a replica: too many connections, or too long for the model."""
    LOST = 5
    """Cut off in a replica that failed or stopped."""


class Fates:
    """Of all requests, filled in as replicas end."""

    def __init__(self, count: int) -> None:
        """So far none of `count` requests has met a replica."""
        self.fate = np.full(count, Fate.UNROUTED, dtype=np.int8)
        self.first_token_s = np.full(count, np.nan)
        self.finish_s = np.full(count, np.nan)

    def conclude(self, server: Server) -> None:
        """The simulation ends: what is in flight stays in flight."""
        self._record(server)

    def cut(self, server: Server, *, may_retry: bool) -> NDArray[np.int64]:
        """All connections break.

        Returns:
            Requests whose clients saw no byte yet, where these may be sent again; the others are lost.
        """
        given = self._record(server)
        fate = self.fate[given]
        open_requests: NDArray[np.int64] = given[(fate == Fate.WAITING) | (fate == Fate.RUNNING)]
        silent = np.isnan(self.first_token_s[open_requests]) & may_retry
        self.lose(open_requests[~silent])
        again: NDArray[np.int64] = open_requests[silent]
        return again

    def lose(self, requests: NDArray[np.int64]) -> None:
        """Nobody answers these."""
        self.fate[requests] = Fate.LOST

    def _record(self, server: Server) -> NDArray[np.int64]:
        given, phase, first_token_s, finish_s = server.outcome()
        fate = np.full(given.size, Fate.RUNNING, dtype=np.int8)
        fate[phase <= WAITING] = Fate.WAITING
        fate[phase == FINISHED] = Fate.COMPLETED
        fate[phase == REJECTED] = Fate.REJECTED
        self.fate[given] = fate
        self.first_token_s[given] = first_token_s
        self.finish_s[given] = finish_s
        return given
