"""What to do next with each adapter: from what is assigned, what the engine holds, and what went wrong. Pure.

The engine is asked what it holds at every turn, so an engine that was restarted, or an agent that was, needs
no special care: what is missing is loaded, what is too much is unloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_operator.agent.errors import Reason

TRIAL_MARK: Final = "@"
"""A changed adapter is first loaded as `NAME@VERSION`, to see that the engine takes it."""

FIRST_RETRY_S: Final = 2.0
LONGEST_RETRY_S: Final = 300.0


class State(StrEnum):
    """Where an adapter is on its way."""

    PENDING = "Pending"
    FETCHING = "Fetching"
    LOADING = "Loading"
    LOADED = "Loaded"
    FAILED = "Failed"


@dataclass(frozen=True)
class Failure:
    """Why an adapter is not there.

    Attributes:
        reason: The kind of trouble.
        message: What is the matter, in a sentence.
        attempts: How often it was tried.
        again_at_s: When it is worth another try.
    """

    reason: Reason
    message: str
    attempts: int
    again_at_s: float

    @property
    def terminal(self) -> bool:
        """Whether it will not go away by itself."""
        return not self.reason.passes


def retry_after_s(attempts: int) -> float:
    """Seconds to wait after so many attempts; doubling."""
    return float(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** (attempts - 1)))


@dataclass(frozen=True)
class Files:
    """Files of an adapter that were checked.

    Attributes:
        version: A digest: other files, another version.
        path: The folder from which the engine loads them; a version has its own.
    """

    version: str
    path: str


@dataclass(frozen=True)
class Known:
    """What the agent knows of one assigned adapter.

    Attributes:
        files: Its files, once they are there.
        failure: What went wrong last, until it succeeds.
        busy: What is being done with it right now.
    """

    files: Files | None = None
    failure: Failure | None = None
    busy: State | None = None

    def may_try(self, now_s: float) -> bool:
        """Whether something may be tried now."""
        return self.busy is None and (self.failure is None or now_s >= self.failure.again_at_s)

    def is_held(self, name: str, held: Mapping[str, str]) -> bool:
        """Whether the engine holds exactly these files under this name."""
        return self.files is not None and held.get(name) == self.files.path

    def state(self, name: str, held: Mapping[str, str]) -> State:
        """The adapter's state, for people and for readiness."""
        if self.is_held(name, held):
            return State.LOADED
        if self.busy is not None:
            return self.busy
        return State.FAILED if self.failure is not None else State.PENDING


@dataclass(frozen=True)
class Actions:
    """What to do next.

    Attributes:
        fetch: Adapters whose files are to be had.
        load: Adapters that the engine is to load, none of which it holds.
        swap: Adapters that the engine holds in another version.
        unload: Names that the engine holds and nobody wants.
    """

    fetch: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    swap: tuple[str, ...] = ()
    unload: tuple[str, ...] = ()


def next_actions(known: Mapping[str, Known], held: Mapping[str, str], now_s: float) -> Actions:
    """What to do next.

    Args:
        known: By name, what is known of each assigned adapter.
        held: By name, the path from which the engine holds each adapter.
        now_s: The present.
    """
    ready = [name for name, adapter in known.items() if adapter.may_try(now_s)]
    fetched = [
        name for name in ready if known[name].files is not None and not known[name].is_held(name, held)
    ]
    return Actions(
        fetch=tuple(name for name in ready if known[name].files is None),
        load=tuple(name for name in fetched if name not in held),
        swap=tuple(name for name in fetched if name in held),
        unload=tuple(name for name in held if name not in known and not _is_trial_of(name, known)),
    )


def trial_name(name: str, version: str) -> str:
    """The name under which a new version is tried."""
    return f"{name}{TRIAL_MARK}{version}"


def _is_trial_of(name: str, known: Mapping[str, Known]) -> bool:
    """Whether a name is that of a trial in progress."""
    adapter, mark, version = name.rpartition(TRIAL_MARK)
    if not mark or adapter not in known:
        return False
    files, busy = known[adapter].files, known[adapter].busy
    return busy is not None and files is not None and files.version == version


def is_ready(known: Mapping[str, Known], held: Mapping[str, str]) -> bool:
    """Whether every assigned adapter is loaded, or has failed for good."""
    return all(
        adapter.is_held(name, held) or (adapter.failure is not None and adapter.failure.terminal)
        for name, adapter in known.items()
    )
