"""Whether what was decided still stands, and what becomes of a new decision. Pure."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from adapter_operator.api.v1alpha1 import Status
from adapter_operator.planning import Decision
from adapter_operator.reconcile.inputs import Intent
from adapter_operator.reconcile.values import Announcement, Observed, PlanRecord

Action = Literal["Apply", "Reject"]


@dataclass(frozen=True)
class Judged:
    """A decision and what it was made for.

    Attributes:
        decision: The decision.
        inputs: Hash of what it was decided from.
        present: Hash of the plan that was in force then; empty where there was none.
    """

    decision: Decision
    inputs: str
    present: str

    @property
    def action(self) -> Action:
        """What is done about it: only what the twin has verified is applied."""
        return "Apply" if self.decision.applicable else "Reject"

    @property
    def lasting(self) -> bool:
        """Whether deciding again would lead to the same; time may not run out twice."""
        return self.decision.verdict.reason != "Timeout"

    def decision_id(self, uid: str) -> str:
        """Names this decision for this object; the same decision has the same name after a restart."""
        verdict = self.decision.verdict
        parts = (uid, self.inputs, self.present, verdict.plan_hash, verdict.status, verdict.reason)
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:10]

    def announcement(self) -> Announcement:
        """The decision as an Event."""
        verdict = self.decision.verdict
        if self.action == "Apply":
            return Announcement("Normal", "PlanVerified", "Plan", verdict.message)
        return Announcement("Warning", "PlanRejected", "Plan", f"{verdict.reason}: {verdict.message}")


def stands(observed: Observed, status: Status, intent: Intent) -> PlanRecord | None:
    """The plan in force, where it was decided from the same inputs and the status tells of it."""
    record = observed.in_force
    if record is None or record.inputs != intent.inputs:
        return None
    told = status.plan_hash == record.plan.hash and status.verdict is not None
    return record if told and status.verdict and status.verdict.plan_hash == record.plan.hash else None


def still_holds(judged: Judged | None, observed: Observed, intent: Intent) -> bool:
    """Whether an earlier decision answers the same question."""
    return judged is not None and (judged.inputs, judged.present) == (intent.inputs, present_hash(observed))


def present_hash(observed: Observed) -> str:
    """Hash of the plan in force; empty where there is none."""
    return observed.in_force.plan.hash if observed.in_force else ""
