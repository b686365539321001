"""The fitted parameters of a profile as one vector, with a scale and bounds for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapter_twin.profile import LengthAssumptions, Profile, StepTimeCoefficients


@dataclass(frozen=True)
class Parameter:
    """One fitted number: where it stands in the profile, and how far a fit may move it.

    `scale` is a typical size: the unit of the regularisation, and of finite differences.
    """

    name: str
    scale: float
    lower: float = 0.0
    upper: float = np.inf


STEP_TIME = (
    Parameter("base", 1e-2),
    Parameter("per_decode", 2e-5),
    Parameter("per_kv_token", 5e-8),
    Parameter("per_prefill_token", 5e-5),
    Parameter("per_prefill", 5e-4),
    Parameter("lora_base", 1e-2),
    Parameter("lora_per_rank", 1e-4),
    Parameter("lora_per_adapter", 3e-4),
    Parameter("lora_per_adapter_split", 1e-4),
    Parameter("lora_per_adapter_rank", 5e-6),
    Parameter("lora_per_adapter_decode", 4e-7),
    Parameter("lora_per_prefill_token", 5e-5),
    Parameter("lora_per_adapter_prefill_token", 3e-7),
    Parameter("lora_per_slot", 3e-5),
    Parameter("lora_per_slot_rank", 2e-6),
    Parameter("per_waiting", 4e-7),
)
FRONT_END = (
    Parameter("request_s", 5e-3),
    Parameter("render_per_label_set_s", 1e-5),
    Parameter("render_per_name_s", 5e-7),
)
LENGTHS = (
    Parameter("prompt.sigma", 0.3, 0.5, 2.0),
    Parameter("output.sigma", 0.3, 0.5, 2.0),
    Parameter("correlation", 0.3, -0.8, 0.5),
)
PARAMETERS = STEP_TIME + FRONT_END + LENGTHS


def vector_of(profile: Profile) -> NDArray[np.float64]:
    """The parameters' values in a profile, shape (len(PARAMETERS),)."""
    front_end = [getattr(profile.front_end, parameter.name) for parameter in FRONT_END]
    lengths = profile.workload_defaults
    spreads = [lengths.prompt.sigma, lengths.output.sigma, lengths.correlation]
    return np.concatenate([profile.step_time.vector(), front_end, spreads])


def with_vector(profile: Profile, values: Sequence[float]) -> Profile:
    """The profile with these parameters."""
    named = {parameter.name: float(value) for parameter, value in zip(PARAMETERS, values, strict=True)}
    defaults = profile.workload_defaults
    lengths = LengthAssumptions(
        prompt=defaults.prompt.model_copy(update={"sigma": named["prompt.sigma"]}),
        output=defaults.output.model_copy(update={"sigma": named["output.sigma"]}),
        correlation=named["correlation"],
        max_total_tokens=defaults.max_total_tokens,
    )
    front_end = {parameter.name: named[parameter.name] for parameter in FRONT_END}
    return profile.model_copy(
        update={
            "step_time": StepTimeCoefficients(
                **{parameter.name: named[parameter.name] for parameter in STEP_TIME}
            ),
            "front_end": profile.front_end.model_copy(update=front_end),
            "workload_defaults": lengths,
        }
    )
