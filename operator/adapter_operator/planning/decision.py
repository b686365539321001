"""What planning decided, and everything that led there. Frozen; what may be done with it is derived."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from adapter_operator.planning.repair import Adjustment
from adapter_operator.planning.verdict import Verdict
from adapter_predictor.placement import LowerBound, Placement
from adapter_predictor.plan import Plan
from adapter_predictor.prediction import Prediction

Timings = Mapping[str, float]
"""Wall-clock seconds by stage, in the order in which the stages began."""


@dataclass(frozen=True)
class Attempt:
    """One plan that was placed and put before the twin.

    Attributes:
        adjustment: What was asked of the placement beyond the request, and why.
        plan: The plan.
        placement: What the placement answered.
        verdict: What the twin said of its plan.
    """

    adjustment: Adjustment
    plan: Plan
    placement: Placement
    verdict: Verdict


@dataclass(frozen=True)
class Decision:
    """The outcome of planning.

    Attributes:
        plan: The plan; None where none could be made.
        verdict: The twin's verdict on it.
        prediction: What each replica is predicted to deliver at the declared rates.
        explanation: Why this plan, one sentence each.
        lower_bound: GPUs below which the predictor finds no plan.
        attempts: Every plan that was looked at, in order.
        timings: How long each stage took.
    """

    plan: Plan | None
    verdict: Verdict
    prediction: Mapping[str, Prediction] = field(default_factory=dict)
    explanation: tuple[str, ...] = ()
    lower_bound: LowerBound | None = None
    attempts: tuple[Attempt, ...] = ()
    timings: Timings = field(default_factory=dict)

    @property
    def applicable(self) -> bool:
        """Whether the plan may be applied: the twin verified exactly this plan."""
        return self.plan is not None and self.verdict.verified and self.verdict.plan_hash == self.plan.hash

    @property
    def status(self) -> str:
        """``Verified`` or ``Rejected``."""
        return "Verified" if self.applicable else "Rejected"
