"""The conditions of an AdapterDeployment: their types, their reasons, and how one is set. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from adapter_operator.api.v1alpha1.status import Condition

ConditionStatus = Literal["True", "False", "Unknown"]
_MAX_MESSAGE = 1024


class ConditionType(StrEnum):
    """What the operator has something to say about."""

    READY = "Ready"
    PLANNED = "Planned"
    VERIFIED = "Verified"
    PROGRESSING = "Progressing"
    TRAFFIC_OBSERVED = "TrafficObserved"
    TWIN_ACCURATE = "TwinAccurate"
    DEGRADED = "Degraded"


class Reason(StrEnum):
    """Why a condition is as it is; a closed list, for alerts and runbooks rest on it."""

    # Ready
    ALL_REPLICAS_READY = "AllReplicasReady"
    REPLICAS_NOT_READY = "ReplicasNotReady"
    NO_PLAN = "NoPlan"
    # Planned
    PLAN_FOUND = "PlanFound"
    INVALID_SPEC = "InvalidSpec"
    NOT_SUPPORTED = "NotSupported"
    PAUSED = "Paused"
    # Verified; the rejections are those of the twin's verdict
    TWIN_VERIFIED = "TwinVerified"
    STARVATION = "Starvation"
    OUT_OF_MEMORY = "OutOfMemory"
    LATENCY_OBJECTIVE = "LatencyObjective"
    TRANSITION_WORSE = "TransitionWorse"
    TIMEOUT = "Timeout"
    PROFILE_INVALID = "ProfileInvalid"
    OBJECTIVES_UNREACHABLE = "ObjectivesUnreachable"
    VERIFYING = "Verifying"
    # Progressing
    ROLLING_OUT = "RollingOut"
    ROLLED_OUT = "RolledOut"
    INSUFFICIENT_GPUS = "InsufficientGPUs"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    # TrafficObserved
    DECLARED = "Declared"
    OBSERVED = "Observed"
    # Degraded
    AS_EXPECTED = "AsExpected"
    KEEPING_LAST_PLAN = "KeepingLastPlan"
    APPLY_FAILED = "ApplyFailed"


def set_condition(
    conditions: Sequence[Condition],
    type_: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: str,
    *,
    observed_generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """The conditions with one of them set; its transition time moves only where its status flips.

    Args:
        conditions: the present ones; those of other types are kept as they are, in their order.
        type_: which condition to set.
        status: what it says.
        reason: why, in one word of the closed list.
        message: why, for a person; cut at 1,024 characters.
        observed_generation: the object's generation that this rests on.
        now: the time of a flip, with its time zone.
    """
    present = find_condition(conditions, type_)
    flipped = present is None or present.status != status
    changed = Condition(
        type=type_.value,
        status=status,
        reason=reason.value,
        message=message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 1]}…",
        lastTransitionTime=format_time(now) if flipped or present is None else present.last_transition_time,
        observedGeneration=observed_generation,
    )
    if present is None:
        return (*conditions, changed)
    return tuple(changed if item.type == type_ else item for item in conditions)


def find_condition(conditions: Sequence[Condition], type_: ConditionType) -> Condition | None:
    """The condition of a type, where there is one."""
    return next((item for item in conditions if item.type == type_), None)


def format_time(moment: datetime) -> str:
    """A moment as Kubernetes writes it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
