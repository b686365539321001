"""The load of a replica: what a prediction is asked about."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.errors import PredictionError

SLOT_GRID: Final = (8, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384)
"""Choices of slots: few, so that pools stay few."""


@dataclass(frozen=True)
class ReplicaLoad:
    """One replica, its adapters' traffic and its slots.

    Attributes:
        rates: Requests/s of each adapter on this replica, after shares.
        prompt_tokens_mean: Mean prompt tokens of a request.
        output_tokens_mean: Mean output tokens of a request.
        max_loras: Adapter slots.
        max_lora_rank: The rank to which every slot is padded.
    """

    rates: tuple[float, ...]
    prompt_tokens_mean: float
    output_tokens_mean: float
    max_loras: int
    max_lora_rank: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(rate) and rate >= 0.0 for rate in self.rates):
            raise PredictionError("rates: every rate is a finite number of requests/s >= 0")
        if not (self.prompt_tokens_mean >= 1.0 and self.output_tokens_mean >= 1.0):
            raise PredictionError("prompt_tokens_mean and output_tokens_mean: both are at least 1 token")
        if self.max_loras < 1:
            raise PredictionError(f"max_loras: {self.max_loras} is not at least 1")

    @property
    def rate(self) -> float:
        """Requests/s of all adapters together."""
        return math.fsum(self.rates)

    @property
    def offered_tokens_per_s(self) -> float:
        """Prompt and output tokens that arrive per second."""
        return self.rate * (self.prompt_tokens_mean + self.output_tokens_mean)

    def scaled(self, factor: float) -> Self:
        """The same load with every rate multiplied."""
        rates = tuple(rate * factor for rate in self.rates)
        return type(self)(
            rates, self.prompt_tokens_mean, self.output_tokens_mean, self.max_loras, self.max_lora_rank
        )


@dataclass(frozen=True)
class LoadBatch:
    """Many loads as flat arrays.

    Attributes:
        rates: Requests/s of the adapters of all loads, one load after another.
        offsets: Where each load's rates begin, shape (n + 1); load i has `rates[offsets[i]:offsets[i + 1]]`.
        prompt_tokens_mean: Shape (n).
        output_tokens_mean: Shape (n).
        max_loras: Shape (n).
        max_lora_rank: Shape (n).
    """

    rates: NDArray[np.float64]
    offsets: NDArray[np.int64]
    prompt_tokens_mean: NDArray[np.float64]
    output_tokens_mean: NDArray[np.float64]
    max_loras: NDArray[np.int64]
    max_lora_rank: NDArray[np.int64]

    @classmethod
    def of(cls, loads: Sequence[ReplicaLoad]) -> Self:
        """The batch of single loads."""
        return cls.build(
            [np.array(load.rates, dtype=np.float64) for load in loads],
            prompt_tokens_mean=[load.prompt_tokens_mean for load in loads],
            output_tokens_mean=[load.output_tokens_mean for load in loads],
            max_loras=[load.max_loras for load in loads],
            max_lora_rank=[load.max_lora_rank for load in loads],
        )

    @classmethod
    def build(
        cls,
        rates: Sequence[NDArray[np.float64]],
        *,
        prompt_tokens_mean: Sequence[float] | float,
        output_tokens_mean: Sequence[float] | float,
        max_loras: Sequence[int],
        max_lora_rank: Sequence[int],
    ) -> Self:
        """The batch of loads given by their adapters' rates; scalars hold for all."""
        count = len(rates)
        sizes = np.array([0, *(len(one) for one in rates)], dtype=np.int64)
        return cls(
            rates=np.concatenate([np.empty(0), *rates]),
            offsets=np.cumsum(sizes),
            prompt_tokens_mean=np.broadcast_to(np.asarray(prompt_tokens_mean, np.float64), count).copy(),
            output_tokens_mean=np.broadcast_to(np.asarray(output_tokens_mean, np.float64), count).copy(),
            max_loras=np.array(max_loras, dtype=np.int64),
            max_lora_rank=np.array(max_lora_rank, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.max_loras)

    def load(self, index: int) -> ReplicaLoad:
        """One load of the batch."""
        return ReplicaLoad(
            tuple(self.rates[self.offsets[index] : self.offsets[index + 1]].tolist()),
            float(self.prompt_tokens_mean[index]),
            float(self.output_tokens_mean[index]),
            int(self.max_loras[index]),
            int(self.max_lora_rank[index]),
        )
