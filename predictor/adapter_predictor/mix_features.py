"""What a tree sees of a mix of adapters whose number is open: one function, for training and for serving."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.features import Feature

FloatArray = NDArray[np.float64]

MIX_FEATURES: Final = (
    Feature("rate_per_adapter", "req/s", "mean rate of an adapter", "rises"),
    Feature("tokens_per_adapter", "tokens/s", "mean offered load of an adapter", "rises"),
    Feature("top_ratio", "", "the hottest adapter's rate over the mean"),
    Feature("effective_share", "", "share of the adapters that the traffic is effectively spread over"),
    Feature("max_lora_rank", "rank", "rank to which every slot is padded"),
    Feature("prompt_tokens", "tokens", "mean prompt length", "rises"),
    Feature("output_tokens", "tokens", "mean output length", "rises"),
    Feature("steady_adapters", "adapters", "most adapters that the steady state serves", "falls"),
    Feature("steady_slots", "slots", "slots with which it serves them"),
    Feature("steady_throughput", "tokens/s", "throughput of the steady state with them", "mixed"),
)
"""The features of a mix, in the order of the vector."""

MIX_INDEX: Final = {feature.name: index for index, feature in enumerate(MIX_FEATURES)}


def mix_vector(
    rates: FloatArray,
    tokens: tuple[float, float],
    max_lora_rank: int,
    steady: tuple[float, float, float],
) -> FloatArray:
    """Features of a mix, shape (len(MIX_FEATURES)).

    Args:
        rates: Requests/s of the adapters' cycle.
        tokens: Mean prompt and output tokens.
        max_lora_rank: Rank of the slots.
        steady: Adapters, slots and throughput of the steady state's optimum.
    """
    mean = float(rates.mean())
    effective = float(rates.sum() ** 2 / (rates**2).sum()) / rates.size
    spread = (mean, mean * sum(tokens), float(rates.max()) / mean, effective)
    return np.array([*spread, float(max_lora_rank), *tokens, *steady], dtype=np.float64)
