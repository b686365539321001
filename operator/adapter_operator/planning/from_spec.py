"""From an AdapterDeployment to what planning is asked."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final

from adapter_operator.api.v1alpha1 import Adapter, AdapterDeployment, Spec
from adapter_operator.api.v1alpha1.spec import Arrivals
from adapter_operator.errors import SpecError
from adapter_operator.planning.request import PlanningRequest, VerificationSettings
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, TokenMeans
from adapter_predictor.plan import Plan
from adapter_twin.profile import Profile, available_profiles, load_profile
from adapter_twin.profile.model import TokenLengths
from adapter_twin.workload import ArrivalProcess, GammaBurst, Poisson

_SIMULATED_ARGUMENTS: Final = {
    "max_num_seqs": int,
    "max_num_batched_tokens": int,
    "max_model_len": int,
    "gpu_memory_utilization": float,
}
"""Engine arguments that change what the twin computes."""


def request_from_spec(
    deployment: AdapterDeployment,
    *,
    present: Plan | None = None,
    profile: Profile | None = None,
    more_adapters: Sequence[Adapter] = (),
    observed_rates: Mapping[str, float] | None = None,
) -> PlanningRequest:
    """What planning is asked for one AdapterDeployment.

    Args:
        deployment: The object.
        present: The plan that runs now.
        profile: The profile; the shipped one that the spec names where None.
        more_adapters: The adapters that `spec.adaptersFrom` names, as whoever can read ConfigMaps found them.
        observed_rates: Requests/s of adapters by name, which come before the declared ones.

    Raises:
        SpecError: the spec names what is not there, or what does not go together.
    """
    spec = deployment.spec
    adapters = _all_adapters(spec, more_adapters)
    rates = _rates(spec, adapters, observed_rates or {})
    base = _matching(profile or _named_profile(spec), spec)
    return PlanningRequest(
        name=deployment.metadata.name,
        profile=_as_configured(base, spec),
        adapters=tuple(AdapterDemand(a.name, rates[a.name], a.rank, a.min_replicas) for a in adapters),
        objectives=_objectives(spec),
        limits=Limits(spec.scaling.min_replicas, spec.scaling.max_replicas, spec.capacity.max_gpus),
        verification=_verification(spec),
        arrivals=_arrivals(spec.traffic.arrivals),
        tokens=_token_means(spec, base),
        present=present,
        engine=engine_fingerprint(spec, base),
    )


def engine_fingerprint(spec: Spec, profile: Profile) -> str:
    """Changes exactly when the user changes something that an engine must be restarted for.

    Fields at their defaults are left out: a release that adds one restarts nothing. Nor does one that
    calibrates a shipped profile anew; the user's own profile counts by the engine settings that it decides.
    """
    own = {field: getattr(profile.engine, field) for field in ("version", *_SIMULATED_ARGUMENTS)}
    configured = {
        "profile": spec.profile.name or own | {"tensor_parallel_size": profile.tensor_parallel_size},
        "model": spec.model.model_dump(mode="json", exclude_defaults=True),
        "engine": spec.engine.model_dump(mode="json", exclude_defaults=True),
    }
    return hashlib.sha256(json.dumps(configured, sort_keys=True).encode()).hexdigest()[:16]


def _all_adapters(spec: Spec, more: Sequence[Adapter]) -> list[Adapter]:
    if spec.adapters_from and not more:
        raise SpecError(
            "spec.adaptersFrom: ConfigMaps can only be read in a cluster; list the adapters in spec.adapters"
        )
    adapters = [*spec.adapters, *more]
    names = [adapter.name for adapter in adapters]
    for adapter in more:
        if names.count(adapter.name) > 1 or adapter.name == spec.model.request_name:
            raise SpecError(f"spec.adaptersFrom: the name {adapter.name} is taken; names are unique")
    return adapters


def _rates(spec: Spec, adapters: Sequence[Adapter], observed: Mapping[str, float]) -> Mapping[str, float]:
    """Observed before declared, declared before default."""
    rates: dict[str, float] = {}
    for adapter in adapters:
        known = (observed.get(adapter.name), adapter.rate_per_s, spec.traffic.default_rate_per_s)
        rate = next((one for one in known if one is not None), None)
        if rate is None:
            raise SpecError(
                f"spec.adaptersFrom: {adapter.name} has no rate; give it one, or set spec.traffic.defaultRate"
            )
        rates[adapter.name] = rate
    return rates


def _named_profile(spec: Spec) -> Profile:
    if spec.profile.name is None:
        raise SpecError(
            "spec.profile.configMap: ConfigMaps can only be read in a cluster; name a shipped profile under "
            "spec.profile.name, or give a file with --profile"
        )
    if spec.profile.name not in (shipped := available_profiles()):
        raise SpecError(
            f"spec.profile.name: {spec.profile.name} is not a shipped profile; these are {', '.join(shipped)}"
        )
    return load_profile(spec.profile.name)


def _matching(profile: Profile, spec: Spec) -> Profile:
    if spec.model.name != profile.model.name:
        raise SpecError(
            f"spec.model.name: {spec.model.name} is not the model of profile {profile.name}, which is "
            f"{profile.model.name}"
        )
    return profile


def _as_configured(profile: Profile, spec: Spec) -> Profile:
    """The profile with the engine arguments that the spec sets."""
    given = {
        field: convert(value)
        for field, convert in _SIMULATED_ARGUMENTS.items()
        if (value := spec.engine.argument(field.replace("_", "-"))) is not None
    }
    if not given:
        return profile
    content = profile.model_dump()
    return Profile.model_validate(content | {"engine": content["engine"] | given})


def _objectives(spec: Spec) -> Objectives:
    wanted = spec.objectives
    return Objectives(
        served_fraction=wanted.served_fraction_percent / 100.0,
        headroom=wanted.headroom_percent / 100.0,
        itl_s=wanted.inter_token_latency_s,
        ttft_s=wanted.time_to_first_token_s,
    )


def _verification(spec: Spec) -> VerificationSettings:
    wanted = spec.verification
    return VerificationSettings(wanted.horizon_s, wanted.seeds, wanted.timeout_s, wanted.on_failure)


def _arrivals(arrivals: Arrivals) -> ArrivalProcess:
    return GammaBurst(cv=arrivals.burstiness) if arrivals.process == "Gamma" else Poisson()


def _token_means(spec: Spec, profile: Profile) -> TokenMeans | None:
    tokens, defaults = spec.traffic.tokens, profile.workload_defaults
    if tokens.prompt_mean is None and tokens.output_mean is None:
        return None
    _check_mean("promptMean", tokens.prompt_mean, defaults.prompt)
    _check_mean("outputMean", tokens.output_mean, defaults.output)
    return TokenMeans(tokens.prompt_mean or defaults.prompt.mean, tokens.output_mean or defaults.output.mean)


def _check_mean(field: str, mean: float | None, lengths: TokenLengths) -> None:
    if mean is not None and not lengths.minimum < mean < lengths.maximum:
        raise SpecError(
            f"spec.traffic.tokens.{field}: {mean} is not between {lengths.minimum + 1} and "
            f"{lengths.maximum - 1}, the lengths that the profile covers"
        )
