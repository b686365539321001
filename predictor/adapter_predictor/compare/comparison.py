"""The comparison itself: every contender on every workload of the suite."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapter_predictor.compare.contenders import CONTENDERS, OURS, Contender
from adapter_predictor.compare.drift import moves_a_day
from adapter_predictor.compare.needs import Search
from adapter_predictor.compare.suite import Case
from adapter_predictor.compare.verdicts import Trial, Verdict, judged
from adapter_predictor.placement import Limits, Objectives, place
from adapter_predictor.predictor import Predictor
from adapter_twin.profile import load_profile

LARGE: Final = 20
"""GPUs from which a workload counts as large."""

_MOST_BEYOND: Final = 2.0
_UNLIMITED: Final = 10_000

Tell = Callable[[str], None]
"""Told what was just done."""


@dataclass(frozen=True)
class Entry:
    """How one contender does on one workload.

    Attributes:
        gpus: GPUs with which the twin sees nobody starve; None where no number that was tried does.
        starving: Adapters that starve on as many GPUs as our placement needs.
        served_fraction: Of the replica that serves least there.
        itl_s: Mean inter-token latency there.
        ttft_s: Mean time to first token there.
        moves_a_day: Adapters loaded anew while traffic drifts over a day, for each adapter that there is.
    """

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
        raise ValueError(f"{case.name}: no plan at all")
    verdict = judged(planned.plan, case.demands, predictor.profile, objectives, trial)
    bench = _Bench(case, predictor, objectives, trial, planned.plan.replicas)
    own = bench.search(CONTENDERS[OURS])
    equal = own.fewest(planned.plan.replicas) or planned.plan.replicas
    entries = {}
    for name, contender in CONTENDERS.items():
        search = own if name == OURS else bench.search(contender)
        entries[name] = bench.entry(contender, search, equal)
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

    def search(self, contender: Contender) -> Search:
        """The search for the fewest replicas of a contender."""

        def verdict_on(replicas: int) -> Verdict | None:
            plan = contender(self.case.demands, self.predictor, self.objectives, replicas, None)
            if plan is None:
                return None
            return judged(plan, self.case.demands, self.predictor.profile, self.objectives, self.trial)

        return Search(verdict_on, round(_MOST_BEYOND * self.planned) + 2)

    def entry(self, contender: Contender, search: Search, equal: int) -> Entry:
        """What a contender needs, and how it does on as many replicas as ours."""
        fewest = search.fewest(equal)
        search.serves(equal)
        there = search.known[equal]
        moves = moves_a_day(contender, self.case.demands, self.predictor, self.objectives, equal, seed=7)
        return Entry(
            gpus=None if fewest is None else fewest * self.predictor.profile.tensor_parallel_size,
            starving=len(self.case.demands) if there is None else there.starving,
            served_fraction=0.0 if there is None else there.served_fraction,
            itl_s=float("nan") if there is None else there.itl_s,
            ttft_s=float("nan") if there is None else there.ttft_s,
            moves_a_day=moves,
        )
