"""The parts of a profile that are fitted in the open: memory beside the slots, and loading times."""

from collections.abc import Sequence

import numpy as np

from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.tables import AdapterLoading, KvCapacity, Run
from adapter_twin.memory import kv_budget_bytes, slots_bytes
from adapter_twin.profile import LoadingCoefficients, Profile


def fit_fixed_bytes(profile: Profile, rows: Sequence[KvCapacity]) -> Profile:
    """The one constant of the memory model, by the median over all rows that started."""
    left = [_unexplained_bytes(profile, row) for row in _ok(rows, profile)]
    if not left:
        raise MeasurementError(f"kv_capacity: no ok row for model {profile.model.name}")
    fixed = profile.allocator.fixed_bytes + round(float(np.median(left)))
    return profile.model_copy(
        update={"allocator": profile.allocator.model_copy(update={"fixed_bytes": fixed})}
    )


def fit_loading(profile: Profile, rows: Sequence[AdapterLoading]) -> Profile:
    """Copy time against padding (1 − rank / padded rank), by least squares."""
    mine = [row for row in rows if row.model == profile.model.name]
    if not mine:
        raise MeasurementError(f"adapter_loading: no row for model {profile.model.name}")
    padding = np.array([1.0 - row.adapter_rank / row.max_lora_rank for row in mine])
    seconds = np.array([row.load_cpu_to_gpu_ms / 1e3 for row in mine])
    slope, base = np.polyfit(padding, seconds, 1)
    loading = LoadingCoefficients(
        cpu_to_gpu_base_s=round(float(base), 6),
        cpu_to_gpu_per_padding_s=round(float(slope), 6),
        disk_base_s=profile.loading.disk_base_s,
        disk_bytes_per_s=profile.loading.disk_bytes_per_s,
    )
    return profile.model_copy(update={"loading": loading})


def fit_length_means(profile: Profile, runs: Sequence[Run]) -> Profile:
    """Mean prompt and output lengths of the runs that served everything they were offered."""
    served = [run for run in runs if run.status == "ok" and (run.waiting_mean or 0.0) < 1.0]
    completed = sum(run.completed or 0.0 for run in served)
    if not completed:
        raise MeasurementError("runs: no ok row without a queue to take mean token lengths from")
    defaults = profile.workload_defaults
    means = {
        "prompt": sum(run.input_tokens or 0.0 for run in served) / completed,
        "output": sum(run.output_tokens or 0.0 for run in served) / completed,
    }
    lengths = {
        name: getattr(defaults, name).model_copy(update={"mean": round(mean, 2)})
        for name, mean in means.items()
    }
    return profile.model_copy(update={"workload_defaults": defaults.model_copy(update=lengths)})


def _ok(rows: Sequence[KvCapacity], profile: Profile) -> list[KvCapacity]:
    return [row for row in rows if row.model == profile.model.name and row.status == "ok"]


def _unexplained_bytes(profile: Profile, row: KvCapacity) -> int:
    """Bytes that the engine did not turn into KV cache although the model says they were free."""
    budget = kv_budget_bytes(profile, profile.engine.gpu_memory_utilization)
    per_token = profile.model.kv_bytes_per_token // profile.tensor_parallel_size
    used = slots_bytes(profile, row.max_loras, row.max_lora_rank) + (row.kv_cache_tokens or 0) * per_token
    return budget - used
