"""The fitted parameters of a profile as one vector, with a scale and bounds for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from adapter_twin.profile import LengthAssumptions, Profile, StepTimeCoefficients

Part = TypeVar("Part", bound=BaseModel)


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
    Parameter("tokenizer_s", 0.1),
)
LENGTHS = (
    Parameter("prompt.sigma", 0.3, 0.5, 2.0),
    Parameter("output.sigma", 0.3, 0.5, 2.0),
    Parameter("correlation", 0.3, -0.8, 0.5),
)
LOADING = (Parameter("cpu_to_gpu_base_s", 5e-3),)
PARAMETERS = STEP_TIME + FRONT_END + LENGTHS
"""Of a fit to measured runs, whose loading times and mean lengths have tables of their own."""
BENCH_PARAMETERS = (*STEP_TIME, FRONT_END[0], *LOADING)
"""Of a fit to benchmark runs: the client knows its lengths, and nobody scrapes."""
_FASTEST_READING = 1.25
"""Context is not read faster than at the data sheet's bandwidth times this."""


def bounded_parameters(profile: Profile) -> tuple[Parameter, ...]:
    """What is fitted to runs, with the bound that the GPU's memory sets for reading context.

    Runs with one mixture of lengths hardly tell context from the requests that hold it, and what is free to
    go to zero would do so and extrapolate badly to longer contexts.
    """
    bytes_per_token = profile.model.kv_bytes_per_token / profile.tensor_parallel_size
    least = bytes_per_token / (_FASTEST_READING * profile.gpu.bandwidth_bytes_per_s)
    return tuple(replace(item, lower=least) if item.name == "per_kv_token" else item for item in PARAMETERS)


def vector_of(profile: Profile, parameters: Sequence[Parameter] = PARAMETERS) -> NDArray[np.float64]:
    """The parameters' values in a profile, shape (parameters,)."""
    named = _named(profile)
    return np.array([named[parameter.name] for parameter in parameters])


def with_vector(
    profile: Profile, values: Sequence[float], parameters: Sequence[Parameter] = PARAMETERS
) -> Profile:
    """The profile with these parameters, and its own values of the others."""
    given = {parameter.name: float(value) for parameter, value in zip(parameters, values, strict=True)}
    named = _named(profile) | given
    defaults = profile.workload_defaults
    lengths = LengthAssumptions(
        prompt=defaults.prompt.model_copy(update={"sigma": named["prompt.sigma"]}),
        output=defaults.output.model_copy(update={"sigma": named["output.sigma"]}),
        correlation=named["correlation"],
        max_total_tokens=defaults.max_total_tokens,
    )
    return profile.model_copy(
        update={
            "step_time": StepTimeCoefficients(**{item.name: named[item.name] for item in STEP_TIME}),
            "front_end": _updated(profile.front_end, FRONT_END, named),
            "workload_defaults": lengths,
            "loading": _updated(profile.loading, LOADING, named),
        }
    )


def _named(profile: Profile) -> dict[str, float]:
    """All parameters by name."""
    lengths = profile.workload_defaults
    return {
        **profile.step_time.model_dump(),
        **{parameter.name: getattr(profile.front_end, parameter.name) for parameter in FRONT_END},
        **{parameter.name: getattr(profile.loading, parameter.name) for parameter in LOADING},
        "prompt.sigma": lengths.prompt.sigma,
        "output.sigma": lengths.output.sigma,
        "correlation": lengths.correlation,
    }


def _updated(part: Part, parameters: Sequence[Parameter], named: Mapping[str, float]) -> Part:
    return part.model_copy(update={parameter.name: named[parameter.name] for parameter in parameters})
