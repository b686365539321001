"""A bound on wall-clock time that placement and planning check between pieces of work."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

Clock = Callable[[], float]
"""Seconds of a clock that never goes back."""


@dataclass(frozen=True)
class Deadline:
    """A moment on a clock after which work stops.

    Attributes:
        ends_at: That moment, in the clock's seconds.
        clock: The clock.
    """

    ends_at: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float | None, clock: Clock = time.monotonic) -> Self:
        """The deadline so many seconds from now; one that never passes where none are given."""
        return cls(math.inf if seconds is None else clock() + seconds, clock)

    @property
    def remaining_s(self) -> float:
        """Seconds left; 0 once it has passed."""
        return max(0.0, self.ends_at - self.clock())

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return self.remaining_s <= 0.0
