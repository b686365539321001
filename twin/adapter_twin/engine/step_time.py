"""How long one engine step takes, as a function of what it holds.

The form is physical. A step reads the weights and the host prepares it (`base`), works per decoding request
and reads their context, computes prompt tokens, and scans the waiting queue. The first adapter changes the
regime: the LoRA kernels are launched on every wrapped module (`lora_base`), over a grid that is padded to all
slots and to `max_lora_rank`; each distinct adapter adds its own weights and tiles, and prompt tokens go
through the LoRA kernels too.
"""

from numba import njit

from adapter_twin.profile.model import StepTimeCoefficients

N_COEFFICIENTS = len(StepTimeCoefficients.model_fields)
(
    BASE,
    PER_DECODE,
    PER_KV_TOKEN,
    PER_PREFILL_TOKEN,
    PER_PREFILL,
    LORA_BASE,
    LORA_PER_RANK,
    LORA_PER_ADAPTER,
    LORA_PER_ADAPTER_SPLIT,
    LORA_PER_ADAPTER_RANK,
    LORA_PER_ADAPTER_DECODE,
    LORA_PER_PREFILL_TOKEN,
    LORA_PER_ADAPTER_PREFILL_TOKEN,
    LORA_PER_SLOT,
    LORA_PER_SLOT_RANK,
    PER_WAITING,
) = range(N_COEFFICIENTS)

SPLIT_BELOW_TOKENS = 128
"""vLLM's shrink kernel splits its sums 64-fold below this many tokens in a step, and 8-fold from there on."""


@njit(nogil=True, cache=True, inline="always")
def step_time(c, decodes, prefill_tokens, kv_tokens, prefills, adapters, slots, rank, waiting):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Seconds of one step.

    Args:
        c: coefficients, float64[N_COEFFICIENTS], in the order of `StepTimeCoefficients`.
        decodes: requests that decode one token.
        prefill_tokens: prompt tokens computed in the step.
        kv_tokens: tokens of context held by the scheduled requests.
        prefills: requests with prompt tokens in the step.
        adapters: distinct adapters in the step; 0 means base model only.
        slots: `max_loras`.
        rank: `max_lora_rank`, to which every slot is padded.
        waiting: length of the waiting queue.
    """
    t = c[BASE] + c[PER_DECODE] * decodes + c[PER_KV_TOKEN] * kv_tokens + c[PER_WAITING] * waiting
    t += c[PER_PREFILL_TOKEN] * prefill_tokens + c[PER_PREFILL] * prefills
    if adapters > 0:
        per_adapter = c[LORA_PER_ADAPTER] + c[LORA_PER_ADAPTER_RANK] * rank
        per_adapter += c[LORA_PER_ADAPTER_DECODE] * decodes
        per_adapter += c[LORA_PER_ADAPTER_PREFILL_TOKEN] * prefill_tokens
        if decodes + prefill_tokens < SPLIT_BELOW_TOKENS:
            per_adapter += c[LORA_PER_ADAPTER_SPLIT]
        t += c[LORA_BASE] + c[LORA_PER_RANK] * rank + per_adapter * adapters
        t += c[LORA_PER_PREFILL_TOKEN] * prefill_tokens
        t += (c[LORA_PER_SLOT] + c[LORA_PER_SLOT_RANK] * rank) * slots
    return t
