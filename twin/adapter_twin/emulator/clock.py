"""Emulated seconds and real ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_EARLY_S: Final = 0.0005
"""epoll waits for whole milliseconds, rounded up: half of one early is right on average."""


class Clock:
    """Maps the engine's time to the event loop's, without drift: errors of single sleeps do not add up."""

    def __init__(self, speed_up: float = 1.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._paused: float | None = None
        self.speed_up = speed_up
        """Emulated seconds per real second."""

    def now_s(self) -> float:
        """Emulated seconds since the engine was ready."""
        now = self._loop.time() if self._paused is None else self._paused
        return (now - self._origin) * self.speed_up

    def has_come(self, emulated_s: float) -> bool:
        """Whether it is then, as exactly as timers are."""
        return emulated_s <= self.now_s() + _EARLY_S * self.speed_up

    def late_s(self, emulated_s: float) -> float:
        """Real seconds since then."""
        return (self.now_s() - emulated_s) / self.speed_up

    def call_at(self, emulated_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back then."""
        return self._loop.call_at(self._origin + emulated_s / self.speed_up - _EARLY_S, callback)

    async def sleep_until(self, emulated_s: float) -> None:
        """Sleep until then; if it has passed, only let others run."""
        await asyncio.sleep(max(-self.late_s(emulated_s) - _EARLY_S, 0.0))

    def pause(self) -> None:
        """Let the emulated time stand still."""
        if self._paused is None:
            self._paused = self._loop.time()

    def go_on(self) -> None:
        """Let it go on from where it stood."""
        if self._paused is not None:
            self._origin += self._loop.time() - self._paused
            self._paused = None
