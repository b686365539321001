"""What is worth an Event besides decisions: conditions that flipped. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from adapter_operator.api.conditions import ConditionType, Reason, find_condition
from adapter_operator.api.v1alpha1 import Condition, Status
from adapter_operator.reconcile.account import Account
from adapter_operator.reconcile.values import Announcement

ANNOUNCED: Final[Mapping[Reason, Literal["Normal", "Warning"]]] = {
    Reason.INVALID_SPEC: "Warning",
    Reason.NOT_SUPPORTED: "Warning",
    Reason.ROLLING_OUT: "Normal",
    Reason.ROLLED_OUT: "Normal",
    Reason.INSUFFICIENT_GPUS: "Warning",
    Reason.DEADLINE_EXCEEDED: "Warning",
    Reason.APPLY_FAILED: "Warning",
}
"""Reasons that are announced when a condition takes them on, and whether somebody should worry."""

WATCHED: Final = {
    ConditionType.PLANNED: "Plan",
    ConditionType.PROGRESSING: "Rollout",
    ConditionType.DEGRADED: "Apply",
}


def news(account: Account, status: Status) -> Iterator[Announcement]:
    """An announcement for each condition that has taken on a reason people should hear of."""
    for type_, action in WATCHED.items():
        before = find_condition(account.status.conditions, type_)
        after = find_condition(status.conditions, type_)
        if after is not None and _is_new(before, after) and after.reason in ANNOUNCED:
            kind = ANNOUNCED[Reason(after.reason)]
            yield Announcement(kind, after.reason, action, after.message)


def _is_new(before: Condition | None, after: Condition) -> bool:
    """Whether a condition says something else; an invalid spec may be invalid in a new way."""
    if before is None or before.reason != after.reason:
        return True
    return after.reason == Reason.INVALID_SPEC and before.message != after.message
