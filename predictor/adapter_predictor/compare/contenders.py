"""Who is compared: a way to place adapters on a given number of replicas, ours or a baseline."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from adapter_predictor.errors import ComparisonError
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, TokenMeans, place
from adapter_predictor.placement.baselines import BASELINES, Baseline
from adapter_predictor.placement.judge import Judge
from adapter_predictor.placement.seating import plan_of, seated
from adapter_predictor.plan import Plan
from adapter_predictor.predictor import Predictor

OURS: Final = "adaptwin"

Contender = Callable[[Sequence[AdapterDemand], Predictor, Objectives, int, Plan | None], Plan]
"""Adapters, predictor, objectives, how many replicas, and the present plan; the plan."""


def ours(
    demands: Sequence[AdapterDemand],
    predictor: Predictor,
    objectives: Objectives,
    replicas: int,
    present: Plan | None,
) -> Plan:
    """Our placement on exactly so many replicas."""
    limits = Limits(min_replicas=replicas, max_replicas=replicas)
    return _existing(place(demands, predictor, objectives, limits, present=present).plan)


def with_best_slots(baseline: Baseline) -> Contender:
    """A baseline whose replicas get the slots that the predictor finds best for them.

    Where it is asked again after traffic has drifted, replicas are numbered so that the fewest adapters move.
    """

    def contender(
        demands: Sequence[AdapterDemand],
        predictor: Predictor,
        objectives: Objectives,
        replicas: int,
        present: Plan | None,
    ) -> Plan:
        lengths = predictor.profile.workload_defaults
        judge = Judge(predictor, objectives, TokenMeans(lengths.prompt.mean, lengths.output.mean))
        seats = seated(baseline(demands, judge, replicas), judge)
        return _existing(plan_of(seats, demands, present, "") if seats else None)

    return contender


CONTENDERS: Final[Mapping[str, Contender]] = MappingProxyType(
    {OURS: ours} | {name: with_best_slots(baseline) for name, baseline in BASELINES.items()}
)
"""Ours first, then the baselines."""


def _existing(plan: Plan | None) -> Plan:
    if plan is None:
        raise ComparisonError("no choice of slots for these adapters fits in GPU memory")
    return plan
