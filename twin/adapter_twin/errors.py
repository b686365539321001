"""Errors that a person can mend. Every message names the field and says what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter_twin.memory import MemoryVerdict


class AdaptwinError(Exception):
    """Anything wrong with what adaptwin was given; the root of all packages' errors."""


class ProfileError(AdaptwinError):
    """A profile that does not exist, cannot be read, or does not fit its schema."""


class WorkloadError(AdaptwinError):
    """A workload or a trace that cannot be simulated."""


class MeasurementError(AdaptwinError):
    """A measurement table that lacks a column or holds a value of the wrong kind."""


class EngineConfigError(AdaptwinError):
    """Engine arguments that no server would start with."""


class ConformanceError(AdaptwinError):
    """A recording of vLLM's scheduler that cannot be read or replayed."""


class OutOfMemoryError(EngineConfigError):
    """A server that does not start: what its adapter slots leave of the GPU's memory is too little."""

    def __init__(self, verdict: MemoryVerdict) -> None:
        super().__init__(f"max_loras: {verdict.reason}")
        self.verdict = verdict
