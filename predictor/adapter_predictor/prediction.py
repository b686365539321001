"""What a predictor says of one replica, and of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """One replica's performance: central estimates, and what they may be at worst.

    Attributes:
        fits: Whether slots and weights leave enough GPU memory; where not, nothing is served.
        served_fraction: Tokens completed over tokens offered.
        throughput_tokens_per_s: Prompt and output tokens of completed requests, per second.
        itl_s: Mean inter-token latency in seconds.
        ttft_s: Mean time to first token in seconds.
        served_fraction_low: Pessimistic served fraction.
        throughput_low_tokens_per_s: Pessimistic throughput.
        itl_high_s: Pessimistic inter-token latency in seconds.
        ttft_high_s: Pessimistic time to first token in seconds.
    """

    fits: bool
    served_fraction: float
    throughput_tokens_per_s: float
    itl_s: float
    ttft_s: float
    served_fraction_low: float
    throughput_low_tokens_per_s: float
    itl_high_s: float
    ttft_high_s: float


@dataclass(frozen=True)
class PredictionBatch:
    """Predictions of many replicas, one array (n) for each field of `Prediction`."""

    fits: NDArray[np.bool_]
    served_fraction: FloatArray
    throughput_tokens_per_s: FloatArray
    itl_s: FloatArray
    ttft_s: FloatArray
    served_fraction_low: FloatArray
    throughput_low_tokens_per_s: FloatArray
    itl_high_s: FloatArray
    ttft_high_s: FloatArray

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Self:
        """The batch of single predictions."""
        return cls(
            **{
                name: np.array([getattr(one, name) for one in predictions])
                for name in Prediction.__dataclass_fields__
            }
        )

    def __len__(self) -> int:
        return len(self.fits)

    def __getitem__(self, index: int) -> Prediction:
        return Prediction(
            **{name: getattr(self, name)[index].item() for name in Prediction.__dataclass_fields__}
        )
