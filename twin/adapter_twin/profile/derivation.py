"""Profiles of models and GPUs that were not measured, by roofline scaling of a calibrated one.

What reads memory scales with bytes over bandwidth, what computes with parameters over FLOP/s, what launches
LoRA kernels with layers (and, across GPUs, with bandwidth), and what the host does stays. A derived profile
says so (`origin`), reports no fit, and carries a safety margin that placement adds to every headroom.
"""

from adapter_twin.errors import ProfileError
from adapter_twin.profile.model import (
    EngineDefaults,
    Gpu,
    LoadingCoefficients,
    ModelGeometry,
    Profile,
    StepTimeCoefficients,
)

SAFETY_MARGIN_PERCENT = 20
"""Covers the error of the method between the two calibrated models (`docs/profiles.md`)."""
_ALL_REDUCE_S = 12e-6
"""One small all-reduce over NVLink; two per layer under tensor parallelism."""


def derive_profile(
    source: Profile,
    *,
    model: ModelGeometry | None = None,
    gpu: Gpu | None = None,
    tensor_parallel_size: int = 1,
) -> Profile:
    """A profile for another model, GPU or tensor parallel size, from a calibrated one.

    Raises:
        ProfileError: the source is itself derived, or the model cannot be split over that many GPUs.
    """
    if source.origin != "calibrated" or source.tensor_parallel_size != 1:
        raise ProfileError(f"profile: {source.name} is not calibrated on one GPU; derive from one that is")
    target = model or source.model
    device = gpu or source.gpu
    _require_divisible(target, tensor_parallel_size)
    suffix = f"-tp{tensor_parallel_size}" if tensor_parallel_size > 1 else ""
    return source.model_copy(
        update={
            "name": f"{target.name}-{device.name.lower()}{suffix}",
            "origin": "derived",
            "safety_margin_percent": SAFETY_MARGIN_PERCENT,
            "model": target,
            "gpu": device,
            "tensor_parallel_size": tensor_parallel_size,
            "engine": _engine(source.engine, target),
            "step_time": _step_time(source, target, device, tensor_parallel_size),
            "loading": _loading(source, target),
            "fit": None,
        }
    )


def _require_divisible(model: ModelGeometry, tensor_parallel_size: int) -> None:
    for name in ("query_size", "kv_size", "intermediate_size"):
        if getattr(model, name) % tensor_parallel_size:
            raise ProfileError(
                f"tensor_parallel_size: {tensor_parallel_size} does not divide {name} {getattr(model, name)}"
            )


def _engine(engine: EngineDefaults, model: ModelGeometry) -> EngineDefaults:
    return engine.model_copy(update={"max_model_len": model.max_model_len})


def _step_time(source: Profile, model: ModelGeometry, gpu: Gpu, tp: int) -> StepTimeCoefficients:
    given = source.step_time
    weights_s = source.model.weight_bytes / source.gpu.bandwidth_bytes_per_s
    host_s = max(0.0, given.base - weights_s)
    all_reduces_s = 2 * model.layers * _ALL_REDUCE_S if tp > 1 else 0.0
    bandwidth = source.gpu.bandwidth_bytes_per_s / gpu.bandwidth_bytes_per_s
    context = model.kv_bytes_per_token / source.model.kv_bytes_per_token / tp * bandwidth
    compute = model.parameters / source.model.parameters / tp * source.gpu.flops_per_s / gpu.flops_per_s
    lora = model.layers / source.model.layers * bandwidth
    scaled = {name: getattr(given, name) * lora for name in type(given).model_fields if "lora" in name}
    return given.model_copy(
        update=scaled
        | {
            "base": host_s + model.weight_bytes / tp / gpu.bandwidth_bytes_per_s + all_reduces_s,
            "per_kv_token": given.per_kv_token * context,
            "per_prefill_token": given.per_prefill_token * compute,
        }
    )


def _loading(source: Profile, model: ModelGeometry) -> LoadingCoefficients:
    widths = sum(model.lora_widths()) * model.layers
    ratio = widths / (sum(source.model.lora_widths()) * source.model.layers)
    given = source.loading
    return given.model_copy(
        update={
            "cpu_to_gpu_base_s": given.cpu_to_gpu_base_s * ratio,
            "cpu_to_gpu_per_padding_s": given.cpu_to_gpu_per_padding_s * ratio,
        }
    )
