"""The search for a plan that the twin verifies: place, verify, repair. Its attempts are its only state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from adapter_operator.planning.decision import Attempt
from adapter_operator.planning.loads import demanded_loads
from adapter_operator.planning.repair import Adjustment, allowed_replicas, hopeless, repairs
from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import Envelope, Verdict
from adapter_operator.planning.verify import Verifier
from adapter_operator.planning.wording import plural
from adapter_predictor.deadline import Clock, Deadline
from adapter_predictor.load import LoadBatch
from adapter_predictor.placement import Limits, Placement, place
from adapter_predictor.plan import Plan
from adapter_predictor.predictor import Predictor

MAX_ATTEMPTS = 6
"""Plans put before the twin in one search, the first included."""

UNLIMITED_REPLICAS = 10_000

ENVELOPE_SCALES = (1.1, 1.25)
"""Multiples of the verified rates at which a verified plan is tried once more."""

ENVELOPE_REPLICA_HOURS = 6.0
"""Only plans of so many simulated replica hours are tried at other rates: unlike a clock, always the same."""

PLACEMENT_PART = 0.5
"""Of the time that is left a placement may take this much: what it finds must be verified too."""

NEARLY = 0.03
"""A plan with fewer replicas is put before the twin if its predicted served fraction lacks no more."""

Progress = Callable[[str], None]
"""Told in words what is being done."""


@dataclass
class Stages:
    """Tells what is being done, and adds up how long each stage took."""

    clock: Clock
    tell: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, description: str) -> Iterator[None]:
        """Time a block of work."""
        self.tell(description)
        start = self.clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - start


@dataclass
class PlanSearch:
    """One search.

    Attributes:
        request: What is asked.
        predictor: Predicts single replicas for the placement.
        verifier: Has the last word on every plan.
        deadline: When to stop.
        stages: Where times are added up.
        attempts: Every plan put before the verifier, in order.
        unplaceable: The placement's answer where it found no plan at all.
    """

    request: PlanningRequest
    predictor: Predictor
    verifier: Verifier
    deadline: Deadline
    stages: Stages
    attempts: list[Attempt] = field(default_factory=list)
    unplaceable: Placement | None = None

    def run(self) -> None:
        """Try the first plan, then repairs of each rejected one, until one is verified or none is left."""
        candidates = iter([Adjustment()])
        while len(self.attempts) < MAX_ATTEMPTS and not self.deadline.expired:
            attempt = self._first_new(candidates)
            if attempt is None or attempt.verdict.verified or attempt.verdict.reason == "Timeout":
                return
            candidates = repairs(self.request, attempt.plan, attempt.verdict, attempt.adjustment)

    def try_fewer_replicas(self, verified: Attempt) -> None:
        """The predictor may have been too careful: ask the twin whether one replica less would do."""
        fewer = verified.plan.replicas - 1
        rejected = [a for a in self.attempts if not a.verdict.verified and a.plan.replicas == fewer]
        if len(self.attempts) >= MAX_ATTEMPTS or (rejected and all(hopeless(a.verdict) for a in rejected)):
            return
        if fewer < self.request.limits.min_replicas or self.deadline.expired:
            return
        pools = [pool for attempt in rejected for pool in attempt.plan.pools]
        adjustment = Adjustment(
            kind="fewer",
            because=f"{plural(verified.plan.replicas, 'replica')} may be one too many",
            excluded_slots=frozenset((pool.max_loras, pool.max_lora_rank) for pool in pools),
            max_replicas=fewer,
        )
        placement = self._place(adjustment, adjustment.limits(self.request.limits))
        if placement.plan is not None and self._nearly_enough(placement.plan):
            self._judge(adjustment, placement, placement.plan)

    def missing_gpus(self) -> int:
        """GPUs that are missing: what the placement says, or would take if it were not limited."""
        named = [a.placement.missing_gpus for a in self.attempts if not a.placement.feasible]
        if named:
            return named[0]
        last = replace(self.attempts[-1].adjustment, kind="", excluded_slots=frozenset())
        most = allowed_replicas(self.request)
        limits = Limits(min_replicas=most + 1, max_replicas=max(UNLIMITED_REPLICAS, most + 1))
        unlimited = self._place(last, limits)
        replicas = unlimited.plan.replicas if unlimited.plan else most + 1
        return (replicas - most) * self.request.profile.tensor_parallel_size

    def envelope(self, verified: Attempt) -> Envelope:
        """How far the rates may grow: a few multiples, one seed each, and only of small plans."""
        reached = self.request.demand_factor
        hours = verified.plan.replicas * self.request.verification.horizon_s / 3600.0
        for scale in ENVELOPE_SCALES:
            if hours > ENVELOPE_REPLICA_HOURS or self.deadline.expired:
                break
            tried = self.request.demand_factor * scale
            if not self._verify(self._scaled(scale), verified.plan, stage="envelope").verified:
                return Envelope(reached, fails_at=tried)
            reached = tried
        return Envelope(reached)

    def _first_new(self, adjustments: Iterator[Adjustment]) -> Attempt | None:
        """The first adjustment whose plan has not been judged yet, put before the verifier."""
        judged = {attempt.plan.hash for attempt in self.attempts}
        for adjustment in adjustments:
            placement = self._place(adjustment, adjustment.limits(self.request.limits))
            if placement.plan is None:
                self.unplaceable = placement
            elif placement.plan.hash not in judged:
                return self._judge(adjustment, placement, placement.plan)
        return None

    def _judge(self, adjustment: Adjustment, placement: Placement, plan: Plan) -> Attempt:
        """Put a plan before the verifier, and remember what it said."""
        attempt = Attempt(adjustment, plan, placement, self._verify(self.request, plan))
        self.attempts.append(attempt)
        return attempt

    def _nearly_enough(self, plan: Plan) -> bool:
        """Whether the predictor, without its margins, sees every replica serve about what is demanded."""
        loads = demanded_loads(self.request, plan)
        served = self.predictor.predict_batch(LoadBatch.of(list(loads.values()))).served_fraction
        return bool(served.min() >= self.request.objectives.served_fraction - NEARLY)

    def _place(self, adjustment: Adjustment, limits: Limits) -> Placement:
        request = self.request
        again = f" again ({adjustment.because})" if adjustment.because else ""
        with self.stages.stage("place", f"placing {len(request.adapters)} adapters{again}"):
            return place(
                request.adapters,
                self.predictor,
                request.objectives,
                limits,
                tokens=request.tokens,
                present=request.present,
                extra_headroom=adjustment.extra_headroom,
                excluded_slots=adjustment.excluded_slots,
                engine=request.engine,
                deadline_s=self.deadline.remaining_s * PLACEMENT_PART,
            )

    def _verify(self, request: PlanningRequest, plan: Plan, stage: str = "verify") -> Verdict:
        hours = request.verification.horizon_s / 3600.0
        seeds = plural(request.verification.seeds, "time")
        what = f"simulating {plural(plan.replicas, 'replica')} for {hours:g} h, {seeds}"
        with self.stages.stage(stage, what):
            return self.verifier.verify(request, plan, self.deadline)

    def _scaled(self, scale: float) -> PlanningRequest:
        """The request at a multiple of its rates, with one seed."""
        adapters = tuple(replace(adapter, rate=adapter.rate * scale) for adapter in self.request.adapters)
        once = replace(self.request.verification, seeds=1)
        return replace(self.request, adapters=adapters, verification=once)
