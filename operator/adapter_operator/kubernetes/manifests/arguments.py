"""vLLM's arguments: those that the profile and the plan decide, then those that the user adds."""

from typing import Final

from adapter_operator.api.v1alpha1 import Spec
from adapter_operator.kubernetes.manifests.volumes import MODEL_PATH
from adapter_predictor.plan import Pool
from adapter_twin.profile import Profile

MIN_CPU_LORAS: Final = 512
"""Adapters that an engine may keep in host memory at least: as many as one object may list.

It takes no memory by itself. The twin counts on every adapter of a replica being there, whichever plan comes,
and a value that followed the number of adapters would change the engine's configuration with each of them.
"""


def engine_arguments(spec: Spec, profile: Profile, pool: Pool) -> list[str]:
    """The engine's command line, each flag once."""
    decided = {
        "model": _model(spec),
        **_revision(spec),
        "served-model-name": spec.model.request_name,
        "tensor-parallel-size": profile.tensor_parallel_size,
        "max-model-len": profile.engine.max_model_len,
        "max-num-seqs": profile.engine.max_num_seqs,
        "max-num-batched-tokens": profile.engine.max_num_batched_tokens,
        "gpu-memory-utilization": f"{profile.engine.gpu_memory_utilization:g}",
        "max-loras": pool.max_loras,
        "max-lora-rank": pool.max_lora_rank,
        "max-cpu-loras": cpu_loras(pool, len(spec.adapters)),
    }
    flags = [f"--{flag}={value}" for flag, value in decided.items()]
    added = [argument for argument in spec.engine.args if _flag(argument) not in decided]
    return [*flags, "--enable-lora", *added]


def cpu_loras(pool: Pool, adapters: int) -> int:
    """Adapters that host memory holds: a power of two, at least 512, never fewer than slots or adapters."""
    needed = max(pool.max_loras, adapters, MIN_CPU_LORAS)
    return 1 << (needed - 1).bit_length()


def _model(spec: Spec) -> str:
    source = spec.model.source
    if source.hugging_face is not None:
        return source.hugging_face.repository
    return source.path or MODEL_PATH


def _revision(spec: Spec) -> dict[str, str]:
    source = spec.model.source.hugging_face
    return {"revision": source.revision} if source else {}


def _flag(argument: str) -> str:
    """The flag of an argument; those that the twin knows are in the profile already."""
    return argument.removeprefix("--").partition("=")[0]
