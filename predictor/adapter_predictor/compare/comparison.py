"""The comparison itself: every contender on every workload of the suite."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from adapter_predictor.compare.contenders import CONTENDERS, OURS, Contender
from adapter_predictor.compare.drift import moves_a_day
from adapter_predictor.compare.needs import fewest
from adapter_predictor.compare.suite import Case
from adapter_predictor.compare.verdicts import Trial, Verdict, judged
from adapter_predictor.errors import ComparisonError
from adapter_predictor.placement import Limits, Objectives, place, plan_headroom
from adapter_predictor.plan import Plan
from adapter_predictor.predictor import Predictor
from adapter_twin.profile import load_profile

LARGE: Final = 20
"""GPUs from which a workload counts as large."""

_MOST_BEYOND: Final = 1.6
_UNLIMITED: Final = 10_000

Tell = Callable[[str], None]
"""Told what was just done."""


@dataclass(frozen=True)
class Entry:
    """How one contender does on one workload.

    Attributes:
        replicas: Replicas with which the twin sees nobody starve; None where no number that was tried does.
        gpus: GPUs of so many; None likewise.
        starving: Adapters that starve on as many GPUs as our placement needs.
        served_fraction: Of the replica that serves least there.
        itl_s: Mean inter-token latency there.
        ttft_s: Mean time to first token there.
        moves_a_day: Adapters loaded anew while traffic drifts over a day, for each adapter that there is.
    """

    replicas: int | None
    gpus: int | None
    starving: int
    served_fraction: float
    itl_s: float
    ttft_s: float
    moves_a_day: float


@dataclass(frozen=True)
class CaseResult:
    """One workload.

    Attributes:
        name: Of the workload.
        description: What it is like.
        adapters: How many there are.
        rate: Requests/s of all of them.
        planned_gpus: GPUs of our plan, before the twin has been asked.
        lower_bound: GPUs below which the predictor finds no plan.
        verified: Whether the twin sees nobody starve with that plan.
        placement_s: Seconds that placing took.
        entries: What contenders need and do, by their names.
    """

    name: str
    description: str
    adapters: int
    rate: float
    planned_gpus: int
    lower_bound: int
    verified: bool
    placement_s: float
    entries: Mapping[str, Entry]

    @property
    def gap(self) -> float:
        """Planned GPUs over the lower bound, as a part of the bound."""
        return (self.planned_gpus - self.lower_bound) / self.lower_bound


@dataclass(frozen=True)
class Comparison:
    """The whole suite.

    Attributes:
        cases: One result for each workload.
        horizon_s: Simulated seconds of every verdict, for each seed.
        seeds: Of the arrivals.
    """

    cases: tuple[CaseResult, ...]
    horizon_s: float
    seeds: tuple[int, ...]

    @property
    def median_gap(self) -> float:
        """Median over the workloads."""
        return statistics.median(case.gap for case in self.cases)

    @property
    def median_gap_of_large(self) -> float | None:
        """Median over the workloads of 20 GPUs or more; None where there is none."""
        return (
            statistics.median(gaps)
            if (gaps := [c.gap for c in self.cases if c.planned_gpus >= LARGE])
            else None
        )


def compare(cases: Sequence[Case], trial: Trial, tell: Tell) -> Comparison:
    """Run every contender on every workload; the same seeds always give the same figures, but for times."""
    objectives = Objectives()
    predictors: dict[str, Predictor] = {}
    results = []
    for case in cases:
        if case.profile not in predictors:
            predictors[case.profile] = Predictor.for_profile(load_profile(case.profile))
        results.append(_compared(case, predictors[case.profile], objectives, trial, tell))
    return Comparison(tuple(results), trial.horizon_s, trial.seeds)


def steps(cases: Sequence[Case]) -> int:
    """How often `compare` tells something."""
    return len(cases) * len(CONTENDERS)


def _compared(
    case: Case, predictor: Predictor, objectives: Objectives, trial: Trial, tell: Tell
) -> CaseResult:
    start = time.perf_counter()
    planned = place(case.demands, predictor, objectives, Limits(max_replicas=_UNLIMITED))
    taken = time.perf_counter() - start
    if planned.plan is None:
        raise ComparisonError(f"{case.name}: no plan fits in the memory of {case.profile}")
    bench = _Bench(case, predictor, objectives, trial, planned.plan.replicas)
    verdict = bench.judged(planned.plan)
    entries: dict[str, Entry] = {}
    equal = planned.plan.replicas
    for name, contender in CONTENDERS.items():
        entries[name] = bench.entry(contender, equal if entries else None)
        equal = entries[OURS].replicas or equal
        tell(f"{case.name}: {name}")
    each = predictor.profile.tensor_parallel_size
    return CaseResult(
        name=case.name,
        description=case.description,
        adapters=len(case.demands),
        rate=sum(demand.rate for demand in case.demands),
        planned_gpus=planned.plan.gpus(each),
        lower_bound=planned.lower_bound.gpus,
        verified=verdict.serves,
        placement_s=taken,
        entries=entries,
    )


@dataclass(frozen=True)
class _Bench:
    """One workload and all that a contender is tried with."""

    case: Case
    predictor: Predictor
    objectives: Objectives
    trial: Trial
    planned: int

    def entry(self, contender: Contender, equal: int | None) -> Entry:
        """What a contender needs, and how it does on as many replicas as ours (or as it needs itself)."""
        verdict_on = cache(lambda replicas: self.judged(self.plan(contender, replicas)))
        needed = fewest(lambda n: verdict_on(n).serves, self.guess(contender), self.most)
        there = equal or needed or self.planned
        verdict = verdict_on(there)
        moves = moves_a_day(contender, self.case.demands, self.predictor, self.objectives, there, seed=7)
        return Entry(
            replicas=needed,
            gpus=None if needed is None else needed * self.predictor.profile.tensor_parallel_size,
            starving=verdict.starving,
            served_fraction=verdict.served_fraction,
            itl_s=verdict.itl_s,
            ttft_s=verdict.ttft_s,
            moves_a_day=moves,
        )

    @property
    def most(self) -> int:
        """No more replicas are tried."""
        return round(_MOST_BEYOND * self.planned) + 2

    def plan(self, contender: Contender, replicas: int) -> Plan:
        """A contender's plan on so many replicas."""
        return contender(self.case.demands, self.predictor, self.objectives, replicas, None)

    def judged(self, plan: Plan) -> Verdict:
        """The twin's verdict on a plan."""
        return judged(plan, self.case.demands, self.predictor.profile, self.objectives, self.trial)

    def guess(self, contender: Contender) -> int:
        """How many replicas a contender needs if the predictor, without any margin, is right."""

        def does(replicas: int) -> bool:
            plan = self.plan(contender, replicas)
            headroom = plan_headroom(plan, self.case.demands, self.predictor, self.objectives)
            return headroom is not None and headroom >= self.objectives.headroom

        return fewest(does, self.planned, self.most) or self.most
