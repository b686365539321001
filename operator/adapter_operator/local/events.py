"""What happened, for people."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["Normal", "Warning"]
KEPT = 200


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        at_s: Seconds since the system was started.
        kind: Whether somebody should worry.
        reason: One word.
        message: A sentence.
    """

    at_s: float
    kind: Kind
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.at_s:7.1f} s  {self.reason:<20} {self.message}"


class Events:
    """The latest events; whoever listens hears of each at once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_s = clock()
        self.latest: deque[Event] = deque(maxlen=KEPT)
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Be told of every event from now on."""
        self._listeners.append(listener)

    def tell(self, kind: Kind, reason: str, message: str) -> None:
        """Something happened."""
        event = Event(self._clock() - self._started_s, kind, reason, message)
        self.latest.append(event)
        for listener in self._listeners:
            listener(event)
