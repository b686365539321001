"""What goes wrong, and when: from `--fault`, or over the admin port while the server runs."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from adapter_twin.emulator.errors import EmulatorConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOW_LOAD: Final = "slow-load"
"""An adapter takes so many seconds longer to load; the engine goes on meanwhile."""
FAIL_LOAD: Final = "fail-load"
"""The engine's worker cannot load an adapter: 500."""
HANG_LOAD: Final = "hang-load"
"""A load is never answered."""
CRASH: Final = "crash"
"""The process ends after so many seconds; clients see their connections reset."""
ENGINE_CRASH: Final = "engine-crash"
"""The engine dies after so many seconds: requests are answered with 500, then the server ends."""
HANG: Final = "hang"
"""After so many seconds the engine makes no more steps; `/health` stays 200."""
FREEZE: Final = "freeze"
"""After so many seconds the whole server answers nothing."""
OUT_OF_MEMORY: Final = "out-of-memory"
"""The engine does not start."""

_LOADING: Final = frozenset({SLOW_LOAD, FAIL_LOAD, HANG_LOAD})
_TIMED: Final = frozenset({CRASH, ENGINE_CRASH, HANG, FREEZE})
KINDS: Final = (SLOW_LOAD, FAIL_LOAD, HANG_LOAD, CRASH, ENGINE_CRASH, HANG, FREEZE, OUT_OF_MEMORY)


@dataclass(frozen=True)
class Fault:
    """One fault."""

    kind: str
    seconds: float = 0.0
    """How much slower, or how long after the server was ready."""
    pattern: str = "*"
    """Adapters it concerns."""

    def __str__(self) -> str:
        seconds = f"={self.seconds:g}" if self.seconds else ""
        pattern = f"@{self.pattern}" if self.pattern != "*" else ""
        return f"{self.kind}{seconds}{pattern}"


def parse_fault(text: str) -> Fault:
    """A fault as `KIND[=SECONDS][@PATTERN]`.

    Raises:
        EmulatorConfigError: there is no such fault.
    """
    rest, _, pattern = text.partition("@")
    kind, equals, seconds = rest.partition("=")
    if kind not in KINDS:
        raise EmulatorConfigError(f"--fault: {kind} is not one of {', '.join(KINDS)}")
    if pattern and kind not in _LOADING:
        raise EmulatorConfigError(f"--fault: {kind} concerns no adapter, {text} must have no @")
    if equals and kind not in _TIMED | {SLOW_LOAD}:
        raise EmulatorConfigError(f"--fault: {kind} takes no time, {text} must have no =")
    try:
        duration_s = float(seconds) if equals else 0.0
    except ValueError:
        duration_s = -1.0
    if not 0 <= duration_s < 1e9:
        raise EmulatorConfigError(f"--fault: {seconds} is not a number of seconds of 0 or more")
    if kind == SLOW_LOAD and not equals:
        raise EmulatorConfigError("--fault: slow-load needs seconds, such as slow-load=5")
    return Fault(kind, duration_s, pattern or "*")


class Faults:
    """The faults that are on."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.active = tuple(faults)

    def of_loading(self, adapter: str) -> dict[str, Fault]:
        """Those that concern the loading of an adapter, by kind; the first of each counts."""
        found: dict[str, Fault] = {}
        for fault in self.active:
            if fault.kind in _LOADING and fnmatchcase(adapter, fault.pattern):
                found.setdefault(fault.kind, fault)
        return found

    def timed(self) -> list[Fault]:
        """Those that befall the server at a time."""
        return [fault for fault in self.active if fault.kind in _TIMED]

    def has(self, kind: str) -> bool:
        """Whether one of a kind is on."""
        return any(fault.kind == kind for fault in self.active)
