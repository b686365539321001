"""How demand spreads over adapters: a few are used a lot, most rarely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.errors import WorkloadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_EXPONENT = 10.0


def zipf_shares(count: int, exponent: float) -> NDArray[np.float64]:
    """Shares of `count` adapters, the k-th proportional to k to the power of -exponent; they add up to 1.

    An exponent of 0 treats all alike; about 1 is typical of what people choose freely.
    """
    if count < 1:
        raise WorkloadError(f"zipf: {count} adapters are not allowed, there must be at least 1")
    if not 0 <= exponent <= MAX_EXPONENT:
        raise WorkloadError(
            f"zipf: exponent {exponent:g} is not allowed, it must lie between 0 and {MAX_EXPONENT:g}"
        )
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def zipf_rates(count: int, total_rate: float, exponent: float) -> tuple[float, ...]:
    """Requests/s of `count` adapters, the most popular first, which add up to `total_rate`."""
    if not (np.isfinite(total_rate) and total_rate >= 0):
        raise WorkloadError(f"total rate: {total_rate:g} is not allowed, it must be 0 or more requests/s")
    return tuple((total_rate * zipf_shares(count, exponent)).tolist())
