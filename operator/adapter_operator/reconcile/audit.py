"""The audit log's line for one decision: everything needed to tell later what was decided and why. Pure."""

from typing import Any

from adapter_operator.reconcile.account import Account
from adapter_operator.reconcile.judgement import Judged


def audit_line(account: Account, judged: Judged) -> dict[str, Any]:
    """The fields of the line; no secrets, for specs hold none."""
    verdict, plan, observed = judged.decision.verdict, judged.decision.plan, account.observed
    return {
        "decision": judged.decision_id(observed.uid),
        "object": str(observed.key),
        "uid": observed.uid,
        "generation": observed.generation,
        "inputs": judged.inputs,
        "present_plan": judged.present,
        "action": judged.action,
        "plan": verdict.plan_hash,
        "pools": [pool.model_dump() for pool in plan.pools] if plan else [],
        "verdict": {
            "status": verdict.status,
            "reason": verdict.reason,
            "message": verdict.message,
            "margin": verdict.margin,
            "seeds": list(verdict.seeds),
            "profile": verdict.profile_hash,
            "missing_gpus": verdict.missing_gpus,
        },
        "attempts": len(judged.decision.attempts),
        "seconds": {stage: round(seconds, 3) for stage, seconds in judged.decision.timings.items()},
    }
