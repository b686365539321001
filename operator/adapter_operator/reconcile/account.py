"""Everything that one pass of the loop found out and did: what the status is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from adapter_operator.api.conditions import Reason
from adapter_operator.api.v1alpha1 import Status
from adapter_operator.reconcile.inputs import Intent
from adapter_operator.reconcile.judgement import Judged
from adapter_operator.reconcile.moves import Holder, Moves
from adapter_operator.reconcile.rollout import Step
from adapter_operator.reconcile.values import EngineProblem, Observed, PlanRecord


@dataclass(frozen=True)
class Fault:
    """Why a spec is not planned at all.

    Attributes:
        reason: One word.
        message: A sentence that names the field and what is allowed.
    """

    reason: Reason
    message: str


@dataclass(frozen=True)
class Account:
    """What one pass found out and did.

    Attributes:
        observed: The object and what existed for it.
        status: The status as it was.
        now: The present moment.
        fault: Why the spec was not planned; None where it was.
        intent: What was to be planned; None where the spec is at fault.
        judged: The decision that was made, or still holds; None where the plan in force stands.
        deciding: Whether the decision is still being made.
        record: The plan in force now.
        step: The step of the rollout that was taken.
        problems: Engines that cannot start.
        holders: The replicas that exist, as their agents tell; empty where nobody does.
        moves: The moves of adapters that were made.
        rates: Requests/s that were observed, by adapter; None where none were.
        failure: Why what is desired could not be applied; empty where it could.
    """

    observed: Observed
    status: Status
    now: datetime
    fault: Fault | None = None
    intent: Intent | None = None
    judged: Judged | None = None
    deciding: bool = False
    record: PlanRecord | None = None
    step: Step | None = None
    problems: Sequence[EngineProblem] = ()
    holders: Mapping[str, Holder] = field(default_factory=dict)
    moves: Moves | None = None
    rates: Mapping[str, float] | None = None
    failure: str = ""

    @property
    def rejected(self) -> Judged | None:
        """The decision, where it was a rejection."""
        return self.judged if self.judged and self.judged.action == "Reject" else None

    @property
    def ready_replicas(self) -> int:
        """Replicas that are ready, of the plan in force and of those before it."""
        return sum(pool.state.ready for pool in self.observed.pools)
