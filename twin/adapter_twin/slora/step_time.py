"""How long one step of S-LoRA takes: it either decodes for the whole batch, or prefills the newly admitted.

A decoding step reads the weights, the context of every request and the pages of every active adapter; the
host works for each request, one after another. A prefill computes prompt tokens, after the adapters that no
running request uses were copied into the pool.
"""

from adapter_twin.engine.compiling import kernel
from adapter_twin.profile.slora import SloraStepTime

(
    BASE,
    PER_DECODE,
    PER_POOL_TOKEN,
    CROWDED,
    PREFILL_BASE,
    PER_PREFILL_TOKEN,
    PER_LOADED_PAGE,
) = range(len(SloraStepTime.model_fields))


@kernel
def decode_seconds(c, requests, pool_tokens, crowded):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Seconds in which each of `requests` gets one token; `crowded` if the router has looked in vain."""
    return (
        c[BASE]
        + c[PER_DECODE] * requests
        + c[PER_POOL_TOKEN] * pool_tokens
        + (c[CROWDED] if crowded else 0.0)
    )


@kernel
def prefill_seconds(c, tokens, loaded_pages):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Seconds in which `tokens` of prompts are computed, after `loaded_pages` were copied."""
    return c[PREFILL_BASE] + c[PER_PREFILL_TOKEN] * tokens + c[PER_LOADED_PAGE] * loaded_pages
