"""What token lengths mean for the KV cache."""

from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri

from adapter_twin.profile.model import LengthAssumptions
from adapter_twin.workload import Lognormal

_QUANTILES: Final = 96


@lru_cache(maxsize=8192)
def held_tokens(lengths: LengthAssumptions, prompt_mean: float, output_mean: float) -> float:
    """KV tokens that a running request holds, averaged over time.

    A request that generates for longer is seen running more often, so that long outputs count by their
    length: E[output · (prompt + output / 2)] / E[output].

    Args:
        lengths: The shape of the distributions, as a profile assumes them.
        prompt_mean: Mean prompt tokens.
        output_mean: Mean output tokens.
    """
    grid = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    first, second = ndtri(grid)[:, None], ndtri(grid)[None, :]
    correlated = lengths.correlation * first + np.sqrt(1.0 - lengths.correlation**2) * second
    shape, other = lengths.prompt, lengths.output
    prompt = Lognormal(prompt_mean, shape.sigma, shape.minimum, shape.maximum).quantile(ndtr(first))
    output = Lognormal(output_mean, other.sigma, other.minimum, other.maximum).quantile(ndtr(correlated))
    generated = np.minimum(output, np.maximum(lengths.max_total_tokens - prompt, 1)).astype(np.float64)
    return float((generated * (prompt + 0.5 * generated)).mean() / generated.mean())
