"""One replica's load in the twin: what the trees learn from, and what answers where there are no trees."""

from adapter_predictor.load import ReplicaLoad
from adapter_twin.profile import Profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.report import Report
from adapter_twin.workload import Adapter, Lognormal, Poisson, Workload, generate


def simulate_load(profile: Profile, load: ReplicaLoad, *, seed: int, horizon_s: float) -> Report:
    """Simulate one replica: Poisson arrivals, and lengths of the profile's shape with the load's means."""
    workload = _workload(profile, load, horizon_s)
    config = ReplicaConfig(load.max_loras, load.max_lora_rank)
    requests = generate(workload, seed)
    return simulate_replica(profile, config, requests, workload.adapters, duration_s=horizon_s)


def _workload(profile: Profile, load: ReplicaLoad, horizon_s: float) -> Workload:
    shape = profile.workload_defaults
    rates = [rate for rate in load.rates if rate > 0.0]
    return Workload(
        adapters=tuple(Adapter(f"a{i}", rate, load.max_lora_rank) for i, rate in enumerate(rates)),
        prompt=Lognormal(
            load.prompt_tokens_mean, shape.prompt.sigma, shape.prompt.minimum, shape.prompt.maximum
        ),
        output=Lognormal(
            load.output_tokens_mean, shape.output.sigma, shape.output.minimum, shape.output.maximum
        ),
        correlation=shape.correlation,
        max_total_tokens=shape.max_total_tokens,
        arrivals=Poisson(),
        duration_s=horizon_s,
    )
