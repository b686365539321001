"""The status after one pass of the loop. Pure: the same pass gives the same status."""

from collections.abc import Mapping
from typing import Any

from adapter_operator.api.conditions import format_time
from adapter_operator.api.quantities import format_duration, format_quantity
from adapter_operator.api.v1alpha1 import Status
from adapter_operator.api.v1alpha1.status import (
    MAX_EXCEPTIONS,
    MAX_EXPLANATION,
    MAX_HISTORY,
    HistoryEntry,
    LowerBoundStatus,
    ObservedTraffic,
    PlanStatus,
    PoolStatus,
    PredictionStatus,
    StatusException,
    VerdictStatus,
)
from adapter_operator.planning import Verdict
from adapter_operator.reconcile.account import Account
from adapter_operator.reconcile.conditions import conditions
from adapter_operator.reconcile.judgement import Judged
from adapter_predictor.placement import LowerBound
from adapter_predictor.plan import Plan, Pool
from adapter_predictor.prediction import Prediction

MAX_MESSAGE = 1024
MAX_NAMES = 10


def status_after(account: Account) -> Status:
    """The whole status after a pass."""
    changes: dict[str, Any] = {
        "observed_generation": account.observed.generation,
        "conditions": conditions(account),
        "exceptions": _exceptions(account),
        **_totals(account),
        **_intent(account),
        **_decision(account),
    }
    return account.status.model_copy(update=changes)


def to_json(status: Status) -> dict[str, Any]:
    """The status as the API server takes it; what is unset is left out."""
    return status.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _totals(account: Account) -> dict[str, Any]:
    record = account.record
    if record is None:
        return {"replicas": 0, "ready_replicas": 0, "gpus": 0, "pools": (), "plan_hash": None, "plan": None}
    ready = {pool.state.name: pool.state.ready for pool in account.observed.pools}
    gpus_each = account.intent.request.profile.tensor_parallel_size if account.intent else None
    return {
        "replicas": record.plan.replicas,
        "ready_replicas": account.ready_replicas,
        "gpus": account.status.gpus if gpus_each is None else record.plan.gpus(gpus_each),
        "plan_hash": record.plan.hash,
        "plan": PlanStatus(
            configMap=record.name(account.observed.key.name),
            generation=record.generation,
            inputsHash=record.inputs,
        ),
        "pools": tuple(
            _pool(pool, record.plan, ready.get(pool.name, 0), record.generation) for pool in record.plan.pools
        ),
    }


def _pool(pool: Pool, plan: Plan, ready: int, generation: int) -> PoolStatus:
    adapters = {adapter for replica in pool.replica_names() for adapter in plan.assignment[replica]}
    return PoolStatus(
        name=pool.name,
        replicas=pool.replicas,
        readyReplicas=ready,
        maxLoras=pool.max_loras,
        maxLoraRank=pool.max_lora_rank,
        adapters=len(adapters),
        generation=generation,
    )


def _intent(account: Account) -> dict[str, Any]:
    if account.intent is None:
        return {}
    request, source = account.intent.request, account.intent.deployment.spec.traffic.source
    traffic = ObservedTraffic(source=source, totalRate=format_quantity(round(request.total_rate, 3)))
    return {"adapters": len(request.adapters), "traffic": traffic}


def _decision(account: Account) -> dict[str, Any]:
    """What a decision adds; a rejected plan is not in force, so only its verdict is told."""
    if account.judged is None or account.deciding:
        return {}
    judged, decision = account.judged, account.judged.decision
    changes: dict[str, Any] = {"verdict": _verdict(account, decision.verdict)}
    changes["history"] = _history(account, judged)
    if decision.lower_bound is not None:
        changes["lower_bound"] = _lower_bound(decision.lower_bound)
    if judged.action == "Apply" or account.record is None:
        changes["explanation"] = tuple(_cut(line) for line in decision.explanation[:MAX_EXPLANATION])
        changes["prediction"] = _prediction(decision.prediction)
    return changes


def _verdict(account: Account, verdict: Verdict) -> VerdictStatus:
    told, worst = account.status.verdict, verdict.replicas
    same = told is not None and (told.plan_hash, told.status) == (verdict.plan_hash, verdict.status)
    return VerdictStatus(
        status=verdict.status,
        reason=verdict.reason,
        message=_cut(verdict.message),
        planHash=verdict.plan_hash,
        profileHash=verdict.profile_hash,
        seeds=verdict.seeds,
        horizon=format_duration(verdict.horizon_s) if verdict.horizon_s else "",
        servedFractionPercent=_percent(min((r.served_fraction for r in worst), default=None)),
        tokensPerSecond=round(sum(r.throughput_tokens_per_s for r in worst)) if worst else None,
        interTokenLatency=_duration(max((r.itl_s for r in worst), default=None)),
        timeToFirstToken=_duration(max((r.ttft_s for r in worst), default=None)),
        failingReplicas=_failing_replicas(verdict),
        starvingAdapters=tuple(a.name for a in verdict.worst_adapters if a.starving)[:MAX_NAMES],
        verifiedAt=told.verified_at if same and told else format_time(account.now),
    )


def _failing_replicas(verdict: Verdict) -> tuple[str, ...]:
    """The replicas that serve least, of a plan that was rejected after it was simulated."""
    if verdict.verified:
        return ()
    lowest = sorted(verdict.replicas, key=lambda replica: replica.served_fraction)
    return tuple(replica.name for replica in lowest if replica.served_fraction < 1.0)[:MAX_NAMES]


def _prediction(predictions: Mapping[str, Prediction]) -> PredictionStatus | None:
    if not predictions:
        return None
    replicas = list(predictions.values())
    return PredictionStatus(
        servedFractionPercent=_percent(min(one.served_fraction for one in replicas)) or 0,
        tokensPerSecond=round(sum(one.throughput_tokens_per_s for one in replicas)),
        interTokenLatency=_duration(max(one.itl_s for one in replicas)),
        timeToFirstToken=_duration(max(one.ttft_s for one in replicas)),
    )


def _lower_bound(bound: LowerBound) -> LowerBoundStatus:
    return LowerBoundStatus(gpus=bound.gpus, statement=_cut(bound.statement))


def _history(account: Account, judged: Judged) -> tuple[HistoryEntry, ...]:
    """The history with this decision first, once."""
    history, decision_id = account.status.history, judged.decision_id(account.observed.uid)
    if not is_news(account.status, decision_id):
        return history
    verdict, plan = judged.decision.verdict, judged.decision.plan
    entry = HistoryEntry(
        decisionID=decision_id,
        time=format_time(account.now),
        action=judged.action,
        reason=verdict.reason,
        planHash=verdict.plan_hash,
        replicas=plan.replicas if plan else 0,
        message=_cut(verdict.message),
    )
    return (entry, *history)[:MAX_HISTORY]


def is_news(status: Status, decision_id: str) -> bool:
    """Whether a decision is not the one that the status told of last."""
    return not status.history or status.history[0].decision_id != decision_id


def _exceptions(account: Account) -> tuple[StatusException, ...]:
    found = [
        StatusException(
            kind="Replica", name=problem.engine, reason=problem.reason[:64], message=_cut(problem.message)
        )
        for problem in account.problems
    ]
    found += [
        StatusException(
            kind="Adapter", name=adapter, reason=reason[:64], message=_cut(f"on {replica}: {message}")
        )
        for replica, holder in sorted(account.holders.items())
        for adapter, (reason, _, message) in (
            (name, trouble.partition(": ")) for name, trouble in sorted(holder.troubles.items())
        )
    ]
    return tuple(found[:MAX_EXCEPTIONS])


def _percent(fraction: float | None) -> int | None:
    return None if fraction is None else min(100, max(0, int(fraction * 100.0)))


def _duration(seconds: float | None) -> str | None:
    """Whole milliseconds, which also keeps the status from changing with the noise."""
    finite = seconds is not None and 0.0 <= seconds < float("inf")
    return format_duration(seconds) if seconds is not None and finite else None


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"
