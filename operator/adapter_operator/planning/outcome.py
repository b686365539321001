"""What follows from the attempts: the best of them, whether anything fits at all, and why it is rejected."""

from collections.abc import Sequence
from dataclasses import replace

from adapter_operator.planning.decision import Attempt
from adapter_operator.planning.repair import allowed_replicas
from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import Verdict
from adapter_operator.planning.wording import plural
from adapter_predictor.load import SLOT_GRID
from adapter_twin.memory import ALLOWED_LORA_RANKS, kv_budget_bytes, memory_verdict, slots_bytes

FEWEST_SLOTS = SLOT_GRID[0]
"""What the placement tries at least."""

_GIB = 2**30
_NOTHING_SIMULATED = float("-inf")


def best_of(attempts: Sequence[Attempt]) -> Attempt:
    """Verified before rejected, then fewer replicas, then the larger margin, then the earlier."""
    return min(attempts, key=_preference)


def _preference(attempt: Attempt) -> tuple[bool, int, float]:
    verdict = attempt.verdict
    margin = _NOTHING_SIMULATED if verdict.margin is None else verdict.margin
    replicas = attempt.plan.replicas if verdict.verified else 0
    return not verdict.verified, replicas, -margin


def nothing_fits(request: PlanningRequest) -> str:
    """Why not even the fewest slots of the widest rank fit beside the model; empty where they do."""
    profile = request.profile
    widest = max(request.adapters, key=lambda adapter: adapter.rank)
    rank = next(allowed for allowed in ALLOWED_LORA_RANKS if allowed >= widest.rank)
    memory = memory_verdict(profile, FEWEST_SLOTS, rank)
    if memory.fits:
        return ""
    needed = (
        profile.engine.max_model_len * profile.model.kv_bytes_per_token // profile.tensor_parallel_size
        + slots_bytes(profile, FEWEST_SLOTS, rank)
        - kv_budget_bytes(profile, profile.engine.gpu_memory_utilization)
    )
    change = "a GPU with more memory, a larger tensor parallel size or a higher gpu-memory-utilization"
    if memory.kv_cache_tokens:
        change = f"a max-model-len of at most {memory.kv_cache_tokens}, or {change}"
    return (
        f"{memory.reason} (adapter {widest.name} needs rank {rank}): "
        f"{max(needed, 0) / _GIB:.1f} GiB per GPU are missing; what helps is {change}"
    )


def limits_bind(request: PlanningRequest, attempts: Sequence[Attempt]) -> bool:
    """Whether more GPUs than the limits allow were wanted."""
    most = allowed_replicas(request)
    return any(not a.placement.feasible or a.plan.replicas >= most for a in attempts)


def unreachable(request: PlanningRequest, verdict: Verdict, missing_gpus: int) -> Verdict:
    """The verdict on a best effort: what it misses, and how many GPUs would be needed."""
    most = allowed_replicas(request)
    allowed = f"the {plural(most, 'replica')} that the limits allow"
    remedy = (
        f"about {plural(missing_gpus, 'more GPU')} needed: raise scaling.maxReplicas, or lower the objectives"
        if missing_gpus
        else "nor does any plan with more that was looked at: lower the objectives"
    )
    return replace(
        verdict,
        reason="ObjectivesUnreachable",
        message=f"no plan within {allowed} meets the objectives: {verdict.message}; {remedy}",
        missing_gpus=missing_gpus,
    )
