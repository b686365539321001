"""A plan's replicas as the predictor sees them."""

from collections.abc import Mapping

from adapter_operator.planning.request import PlanningRequest
from adapter_predictor.load import ReplicaLoad
from adapter_predictor.placement import TokenMeans
from adapter_predictor.plan import Plan


def demanded_loads(request: PlanningRequest, plan: Plan) -> Mapping[str, ReplicaLoad]:
    """Each replica's load at the demanded rates, headroom included."""
    rates = {adapter.name: adapter.rate for adapter in request.adapters}
    tokens = token_means(request)
    return {
        name: ReplicaLoad(
            rates=tuple(rates[adapter] * share for adapter, share in plan.assignment[name].items()),
            prompt_tokens_mean=tokens.prompt,
            output_tokens_mean=tokens.output,
            max_loras=pool.max_loras,
            max_lora_rank=pool.max_lora_rank,
        ).scaled(request.demand_factor)
        for pool in plan.pools
        for name in pool.replica_names()
    }


def token_means(request: PlanningRequest) -> TokenMeans:
    """Mean tokens of a request: what was asked for, or the profile's."""
    defaults = request.profile.workload_defaults
    return request.tokens or TokenMeans(defaults.prompt.mean, defaults.output.mean)
