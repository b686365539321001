"""What a placement answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from adapter_predictor.plan import Plan
from adapter_predictor.prediction import Prediction


@dataclass(frozen=True)
class LowerBound:
    """Fewer GPUs than this cannot carry the demand, says the predictor.

    Attributes:
        gpus: The bound.
        statement: What it rests on, and for what it holds, in words.
    """

    gpus: int
    statement: str


@dataclass(frozen=True)
class Placement:
    """The plan and what is known about it.

    Attributes:
        plan: The plan; the best effort where `feasible` is False, and None where not one replica
            fits in memory or in the limits.
        feasible: Whether every replica is predicted to meet the objectives with the headroom.
        missing_gpus: GPUs that a feasible plan needs beyond the limits; 0 where more would not help.
        predictions: For each replica what it will deliver at the declared rates (without headroom).
        explanation: Why this plan, one sentence each.
        lower_bound: GPUs below which the predictor finds no plan.
    """

    plan: Plan | None
    feasible: bool
    missing_gpus: int
    predictions: Mapping[str, Prediction]
    explanation: tuple[str, ...]
    lower_bound: LowerBound
