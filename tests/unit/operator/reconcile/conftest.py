"""Small real values: an object, its profile, plans and decisions as planning makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from adapter_operator.planning import Decision, ReplicaFigures, Verdict
from adapter_operator.reconcile.inputs import intent_of
from adapter_operator.reconcile.rollout import PoolState
from adapter_operator.reconcile.values import ObjectKey, Observed, ObservedPool, PlanRecord
from adapter_predictor.placement import LowerBound
from adapter_predictor.plan import Plan, Pool
from adapter_predictor.prediction import Prediction

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def make_resource():
    """An AdapterDeployment as the API server gives it."""

    def make(*, adapters: int = 3, generation: int = 1, status: Any = None, **spec: Any) -> dict[str, Any]:
        listed = [
            {"name": f"tenant/{n}", "rank": 8, "rate": "0.5", "source": {"path": f"/adapters/{n}"}}
            for n in range(adapters)
        ]
        base = {
            "model": {"name": "llama-3.1-8b-instruct", "source": {"path": "/weights"}},
            "profile": {"name": "llama-3.1-8b-instruct-h100-64gb"},
            "adapters": listed,
        }
        return {
            "apiVersion": "adaptwin.io/v1alpha1",
            "kind": "AdapterDeployment",
            "metadata": {"name": "llama", "namespace": "team", "uid": "u-1", "generation": generation},
            "spec": base | spec,
            "status": status or {},
        }

    return make


@pytest.fixture
def make_observed(make_resource):
    def make(*, pools=(), plans=(), documents=None, **resource: Any) -> Observed:
        return Observed(
            key=ObjectKey("team", "llama"),
            resource=make_resource(**resource),
            pools=tuple(pools),
            plans=tuple(plans),
            documents=documents or {},
        )

    return make


@pytest.fixture
def make_intent(make_observed):
    return lambda **options: intent_of(make_observed(**options), None)


@pytest.fixture
def make_plan():
    """A plan of one pool that serves three adapters, spread over its replicas."""

    def make(name: str = "p-00000001", replicas: int = 1, max_loras: int = 4) -> Plan:
        pool = Pool(name=name, replicas=replicas, max_loras=max_loras, max_lora_rank=8)
        assignment: dict[str, dict[str, float]] = {f"{name}-{n}": {} for n in range(replicas)}
        for n in range(3):
            assignment[f"{name}-{n % replicas}"][f"tenant/{n}"] = 1.0
        return Plan.build((pool,), assignment)

    return make


@pytest.fixture
def make_record(make_plan):
    def make(generation: int = 1, inputs: str = "i-1", **plan: Any) -> PlanRecord:
        return PlanRecord(make_plan(**plan), generation, inputs)

    return make


@pytest.fixture
def make_pool():
    def make(name: str = "p-00000001", replicas: int = 1, ready: int = 1, **assignments: str) -> ObservedPool:
        texts = {int(key.removeprefix("r")): text for key, text in assignments.items()}
        return ObservedPool(PoolState(name, replicas, replicas, ready), texts)

    return make


@pytest.fixture
def verified(make_plan):
    """A decision to apply a plan."""

    def make(plan: Plan | None = None) -> Decision:
        plan = plan or make_plan()
        figures = tuple(_figures(name) for name in plan.assignment)
        verdict = Verdict(
            "Verified", "", "all is well", plan.hash, "profile", (1,), 600.0, 0.04, replicas=figures
        )
        prediction = Prediction(True, 0.999, 1234.4, 0.0201, 0.11, 0.99, 1200.0, 0.03, 0.2)
        return Decision(
            plan,
            verdict,
            prediction=dict.fromkeys(plan.assignment, prediction),
            explanation=("because",),
            lower_bound=LowerBound(1, "by the predictor"),
        )

    return make


@pytest.fixture
def rejected(make_plan):
    """A decision that no plan may be applied."""

    def make(reason: Any = "ObjectivesUnreachable", message: str = "raise scaling.maxReplicas") -> Decision:
        plan = make_plan(replicas=2)
        return Decision(plan, Verdict("Rejected", reason, message, plan.hash, "profile"))

    return make


def _figures(name: str) -> ReplicaFigures:
    return ReplicaFigures(
        name=name,
        max_loras=4,
        max_lora_rank=8,
        adapters=3,
        offered_per_s=1.5,
        kv_cache_tokens=100_000,
        served_fraction=0.998,
        throughput_tokens_per_s=1200.2,
        itl_s=0.0212,
        ttft_s=0.12,
        ttft_p99_s=0.2,
        running=10.0,
        waiting=0.0,
        kv_usage=0.2,
        preemptions=0.0,
        adapter_loads=3.0,
    )
