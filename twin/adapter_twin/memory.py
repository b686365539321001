"""How many KV cache tokens are left beside the adapter slots, or that nothing fits.

vLLM takes `gpu_memory_utilization` of the GPU; what weights, adapter slots, activations and graphs leave of
it is the KV cache. Adapter slots are stacked tensors, one per wrapped projection and layer, each padded to
`max_lora_rank`; what counts is the memory that PyTorch's caching allocator *reserves* for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from adapter_twin.profile.model import ModelGeometry, Profile

ALLOWED_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM allows for `--max-lora-rank`."""

_MIB = 2**20
_ALLOCATION_UNIT = 512
_SMALL_ALLOCATION, _SMALL_SEGMENT = _MIB, 2 * _MIB
_LARGE_ALLOCATION, _LARGE_SEGMENT = 10 * _MIB, 20 * _MIB
_HUGE_ROUNDING = 2 * _MIB
_VOCABULARY_PADDING = 256


@dataclass(frozen=True)
class MemoryVerdict:
    """Whether an engine with these slots starts, and with how many KV cache tokens."""

    kv_cache_tokens: int
    fits: bool
    reason: str
    """Empty when it fits."""


def memory_verdict(
    profile: Profile,
    max_loras: int,
    max_lora_rank: int,
    *,
    max_model_len: int | None = None,
    gpu_memory_utilization: float | None = None,
) -> MemoryVerdict:
    """The KV cache of an engine with `max_loras` slots padded to `max_lora_rank`.

    It fits when at least one request of `max_model_len` tokens does, as vLLM demands at start.
    """
    utilization = gpu_memory_utilization or profile.engine.gpu_memory_utilization
    needed = max_model_len or profile.engine.max_model_len
    left = kv_budget_bytes(profile, utilization) - slots_bytes(profile, max_loras, max_lora_rank)
    per_token = profile.model.kv_bytes_per_token // profile.tensor_parallel_size
    block = profile.engine.block_size
    tokens = max(0, left // (per_token * block) * block)
    if tokens >= needed:
        return MemoryVerdict(tokens, fits=True, reason="")
    reason = (
        f"{max_loras} slots of rank {max_lora_rank} leave {tokens:,} KV cache tokens on {profile.gpu.name}, "
        f"fewer than max_model_len {needed:,}"
    )
    return MemoryVerdict(tokens, fits=False, reason=reason)


def most_slots(profile: Profile, max_lora_rank: int) -> int:
    """The largest `max_loras` of this rank with which the engine starts; 0: it does not with any."""
    fits, too_many = 0, 1
    while memory_verdict(profile, too_many, max_lora_rank).fits:
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if memory_verdict(profile, middle, max_lora_rank).fits:
            fits = middle
        else:
            too_many = middle
    return fits


def kv_budget_bytes(profile: Profile, utilization: float) -> int:
    """Bytes per GPU that KV cache and adapter slots share."""
    logits = profile.engine.max_num_seqs * profile.model.vocabulary_size
    taken = (
        profile.model.weight_bytes // profile.tensor_parallel_size
        + round(profile.allocator.logits_bytes_per_element * logits)
        + profile.allocator.fixed_bytes
    )
    return int(utilization * profile.gpu.memory_bytes) - taken


def slots_bytes(profile: Profile, max_loras: int, max_lora_rank: int) -> int:
    """Bytes per GPU that the allocator reserves for the adapter slots."""
    extra_rows = profile.engine.lora_extra_vocab_size if profile.model.lora_on_embeddings else 0
    extra = profile.allocator.extra_vocab_tensors * extra_rows * profile.model.hidden_size
    stacked = _reserved_bytes(
        profile.model, extra_rows, max_loras, max_lora_rank, profile.tensor_parallel_size
    )
    return stacked + max_loras * extra * profile.model.dtype_bytes


@lru_cache(maxsize=4096)
def _reserved_bytes(model: ModelGeometry, extra_rows: int, slots: int, rank: int, tp: int) -> int:
    allocator = _CachingAllocator()
    for width in _stacked_widths(model, extra_rows, tp):
        allocator.allocate(slots * rank * width * model.dtype_bytes)
    return allocator.reserved


def _stacked_widths(model: ModelGeometry, extra_rows: int, tp: int) -> Iterator[int]:
    """The other dimension of every stacked LoRA tensor of one GPU, in vLLM's order of creation."""
    for _ in range(model.layers):
        yield from model.lora_widths(tp)
    if model.lora_on_embeddings:
        padded = -(-model.vocabulary_size // _VOCABULARY_PADDING) * _VOCABULARY_PADDING
        yield from (model.vocabulary_size + extra_rows, model.hidden_size)
        yield from (model.hidden_size, padded + extra_rows)


class _CachingAllocator:
    """What PyTorch's CUDA caching allocator reserves for a sequence of allocations that are never freed."""

    def __init__(self) -> None:
        self.reserved = 0
        self._free: dict[int, list[int]] = {_SMALL_SEGMENT: [], _LARGE_SEGMENT: []}

    def allocate(self, size: int) -> None:
        size = -(-size // _ALLOCATION_UNIT) * _ALLOCATION_UNIT
        if size <= _SMALL_ALLOCATION:
            self._take(size, _SMALL_SEGMENT)
        elif size < _LARGE_ALLOCATION:
            self._take(size, _LARGE_SEGMENT)
        else:
            self.reserved += -(-size // _HUGE_ROUNDING) * _HUGE_ROUNDING

    def _take(self, size: int, segment: int) -> None:
        """Best fit among the segments already reserved, or a new one."""
        free = self._free[segment]
        fitting = [i for i, left in enumerate(free) if left >= size]
        if fitting:
            free[min(fitting, key=free.__getitem__)] -= size
        else:
            self.reserved += segment
            free.append(segment - size)
