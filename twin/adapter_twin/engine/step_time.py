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


@njit(nogil=True, cache=True, inline="always")
def step_time(c, decodes, prefill_tokens, kv_tokens, prefills, adapters, slots, rank, waiting, connections):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001
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
        connections: open requests.
    """
    t = c[0] + c[1] * decodes + c[2] * kv_tokens + c[3] * prefill_tokens + c[4] * prefills + c[14] * waiting
    if adapters > 0:
        t += (
            c[5]
            + c[6] * rank
            + (c[7] + c[8] * rank + c[9] * decodes + c[11] * prefill_tokens) * adapters
            + c[10] * prefill_tokens
            + (c[12] + c[13] * rank) * slots
        )
    return t
