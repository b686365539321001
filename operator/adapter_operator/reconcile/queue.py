"""One queue of work for all objects: a key is worked on by one worker at a time, and never twice in vain.

The rules are those of Kubernetes' controllers: a key that is added again while it waits is not queued twice;
a key that is added while it is being worked on is worked on once more afterwards; a key that fails comes back
after an exponential, jittered delay.
"""

import asyncio
import random
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Backoff:
    """Delays between the tries of a key that fails.

    Attributes:
        initial_s: Delay after the first failure.
        maximum_s: No delay is longer.
        jitter: Part of each delay that is drawn at random, in [0, 1].
    """

    initial_s: float = 0.5
    maximum_s: float = 300.0
    jitter: float = 0.3

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after so many failures in a row (at least one)."""
        exponent = min(failures - 1, 30)
        delay: float = min(self.maximum_s, self.initial_s * 2.0**exponent)
        return delay * (1.0 - self.jitter * rng.random())


@dataclass
class _State(Generic[Key]):
    waiting: deque[Key] = field(default_factory=deque)
    dirty: set[Key] = field(default_factory=set)
    working: set[Key] = field(default_factory=set)
    failures: dict[Key, int] = field(default_factory=dict)
    timers: dict[Key, asyncio.TimerHandle] = field(default_factory=dict)


class WorkQueue(Generic[Key]):
    """Keys to be worked on. Belongs to one event loop."""

    def __init__(self, backoff: Backoff | None = None, rng: random.Random | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()  # noqa: S311 - jitter needs no secrecy
        self._state: _State[Key] = _State()
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._state.waiting)

    def add(self, key: Key) -> None:
        """Ask for work on a key, at once."""
        self._cancel_timer(key)
        state = self._state
        if key in state.dirty:
            return
        state.dirty.add(key)
        if key not in state.working:
            state.waiting.append(key)
            self._ready.set()

    def add_after(self, key: Key, delay_s: float) -> None:
        """Ask for work on a key after a while; the sooner of two such wishes counts."""
        loop = asyncio.get_running_loop()
        present = self._state.timers.get(key)
        if present is not None and present.when() <= loop.time() + delay_s:
            return
        self._cancel_timer(key)
        self._state.timers[key] = loop.call_later(delay_s, self.add, key)

    async def take(self) -> Key:
        """The next key; `done` must follow."""
        while not self._state.waiting:
            self._ready.clear()
            await self._ready.wait()
        key = self._state.waiting.popleft()
        self._state.dirty.discard(key)
        self._state.working.add(key)
        return key

    def done(self, key: Key) -> None:
        """Work on a key has ended; if it was asked for meanwhile, it is queued again."""
        state = self._state
        state.working.discard(key)
        if key in state.dirty:
            state.waiting.append(key)
            self._ready.set()

    def failed(self, key: Key) -> float:
        """Work on a key has failed: ask for it again later, and say after how many seconds."""
        failures = self._state.failures.get(key, 0) + 1
        self._state.failures[key] = failures
        delay_s = self._backoff.delay_s(failures, self._rng)
        self.add_after(key, delay_s)
        return delay_s

    def succeeded(self, key: Key) -> None:
        """Work on a key has succeeded: its failures are forgotten."""
        self._state.failures.pop(key, None)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._state.timers.pop(key, None)
        if timer is not None:
            timer.cancel()
