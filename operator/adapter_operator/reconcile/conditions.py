"""What the conditions say after one pass of the loop. Pure."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from adapter_operator.api.conditions import (
    ConditionStatus,
    ConditionType,
    Reason,
    find_condition,
    set_condition,
)
from adapter_operator.api.v1alpha1 import Condition
from adapter_operator.reconcile.account import Account

REJECTIONS: Final = {
    "Starvation": Reason.STARVATION,
    "OutOfMemory": Reason.OUT_OF_MEMORY,
    "LatencyObjective": Reason.LATENCY_OBJECTIVE,
    "TransitionWorse": Reason.TRANSITION_WORSE,
    "Timeout": Reason.TIMEOUT,
    "ProfileInvalid": Reason.PROFILE_INVALID,
    "ObjectivesUnreachable": Reason.OBJECTIVES_UNREACHABLE,
}
GIVEN_UP: Final = (Reason.INSUFFICIENT_GPUS.value, Reason.DEADLINE_EXCEEDED.value)


class Finding(NamedTuple):
    """What a condition is to say."""

    status: ConditionStatus
    reason: Reason
    message: str


def conditions(account: Account) -> tuple[Condition, ...]:
    """All conditions after a pass."""
    findings = {
        ConditionType.READY: _ready(account),
        ConditionType.PLANNED: _planned(account),
        ConditionType.VERIFIED: _verified(account),
        ConditionType.PROGRESSING: _progressing(account),
        ConditionType.TRAFFIC_OBSERVED: _traffic_observed(account),
        ConditionType.DEGRADED: _degraded(account),
    }
    result = account.status.conditions
    for type_, finding in findings.items():
        if finding is not None:
            result = set_condition(
                result, type_, *finding, observed_generation=account.observed.generation, now=account.now
            )
    return result


def _ready(account: Account) -> Finding:
    """Whether as many replicas serve as the plan has; those of the plan before count until they go."""
    if account.record is None:
        return Finding("False", Reason.NO_PLAN, "there is no verified plan, and nothing runs")
    planned = account.record.plan.replicas
    message = (
        account.step.message if account.step else f"{account.ready_replicas} of {planned} replicas are ready"
    )
    reached = account.ready_replicas >= planned
    if reached:
        return Finding("True", Reason.ALL_REPLICAS_READY, message)
    return Finding("False", Reason.REPLICAS_NOT_READY, message)


def _planned(account: Account) -> Finding:
    if account.fault is not None:
        status: ConditionStatus = "Unknown" if account.fault.reason is Reason.PAUSED else "False"
        return Finding(status, account.fault.reason, account.fault.message)
    if account.deciding:
        return Finding("Unknown", Reason.VERIFYING, "a plan is being made and verified")
    if account.rejected is not None:
        verdict = account.rejected.decision.verdict
        return Finding("False", REJECTIONS[verdict.reason], verdict.message)
    plan = account.judged.decision.plan if account.judged else None
    plan = plan or (account.record.plan if account.record else None)
    if plan is None:
        return Finding("False", Reason.NO_PLAN, "there is no plan")
    applied = "" if account.record and account.record.plan == plan else "; recommended, not applied"
    size = f"{_counted(plan.replicas, 'replica')} in {_counted(len(plan.pools), 'pool')}"
    return Finding("True", Reason.PLAN_FOUND, f"plan {plan.hash} has {size}{applied}")


def _verified(account: Account) -> Finding | None:
    if account.fault is not None:
        return (
            _unverified(account, account.fault.message) if account.fault.reason is not Reason.PAUSED else None
        )
    if account.deciding:
        return Finding("Unknown", Reason.VERIFYING, "a plan is being made and verified")
    if account.rejected is not None:
        verdict = account.rejected.decision.verdict
        return Finding("False", REJECTIONS[verdict.reason], verdict.message)
    if account.judged is not None:
        return Finding("True", Reason.TWIN_VERIFIED, account.judged.decision.verdict.message)
    verdict_told = account.status.verdict
    return Finding("True", Reason.TWIN_VERIFIED, verdict_told.message if verdict_told else "")


def _unverified(account: Account, message: str) -> Finding:
    kept = "; what runs was verified for an earlier spec" if account.record else ""
    return Finding("Unknown", account.fault.reason if account.fault else Reason.NO_PLAN, f"{message}{kept}")


def _progressing(account: Account) -> Finding | None:
    """How the rollout goes; given up, for now, where it has stood still for longer than its deadline."""
    if account.step is None:
        return None if account.record else Finding("False", Reason.NO_PLAN, "there is nothing to roll out")
    if account.step.complete and not _moving(account):
        return Finding("False", Reason.ROLLED_OUT, account.step.message)
    message = "; ".join([account.step.message, *_moving(account), *_problem_messages(account)])
    if not _stuck(account):
        return Finding("True", Reason.ROLLING_OUT, message)
    lacking = any(problem.lacks_gpus for problem in account.problems)
    return Finding("False", Reason.INSUFFICIENT_GPUS if lacking else Reason.DEADLINE_EXCEEDED, message)


def _problem_messages(account: Account) -> list[str]:
    first = list(account.problems)[:1]
    return [f"{problem.engine}: {problem.reason}: {problem.message}" for problem in first]


def _moving(account: Account) -> list[str]:
    """That adapters are on their way; those that cannot be loaded are told of elsewhere."""
    if account.moves is None or account.moves.settled:
        return []
    failed = {adapter for holder in account.holders.values() for adapter in holder.failed}
    wanted = account.record.plan.shares if account.record else {}
    moving = sum(
        account.moves.routes.get(adapter) != frozenset(replicas)
        for adapter, replicas in wanted.items()
        if adapter not in failed
    )
    return [f"{_counted(moving, 'adapter')} on the way"] if moving else []


def _stuck(account: Account) -> bool:
    """Whether the same plan has been rolled out for longer than its deadline with no more replicas ready."""
    present = find_condition(account.status.conditions, ConditionType.PROGRESSING)
    if present is None or account.record is None or account.intent is None:
        return False
    same_plan = account.status.plan_hash == account.record.plan.hash
    if not same_plan or account.status.ready_replicas != account.ready_replicas:
        return False
    if present.reason in GIVEN_UP:
        return True
    deadline = timedelta(seconds=account.intent.deployment.spec.rollout.progress_deadline_s)
    since = datetime.fromisoformat(present.last_transition_time)
    return present.status == "True" and account.now - since > deadline


def _traffic_observed(account: Account) -> Finding | None:
    if account.intent is None:
        return None
    source = account.intent.deployment.spec.traffic.source
    if source == "Declared":
        return Finding("True", Reason.DECLARED, "the rates are those that the spec declares")
    if account.rates is not None:
        total = sum(account.rates.values())
        return Finding("True", Reason.OBSERVED, f"planned for {total:.3g} requests/s, as observed")
    message = f"traffic.source {source} is not observed by this version; the declared rates are used"
    return Finding("False", Reason.NOT_SUPPORTED, message)


def _degraded(account: Account) -> Finding:
    if account.failure:
        return Finding("True", Reason.APPLY_FAILED, account.failure)
    refused = account.rejected is not None or (account.fault and account.fault.reason is not Reason.PAUSED)
    if refused and account.record is not None:
        plan = account.record.plan.hash
        message = f"the spec cannot be met; what runs (plan {plan}) is left alone"
        return Finding("True", Reason.KEEPING_LAST_PLAN, message)
    return Finding("False", Reason.AS_EXPECTED, "all is as it should be")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
