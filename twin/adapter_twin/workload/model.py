"""The nouns of a workload, and the requests that it becomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.errors import WorkloadError
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.workload.arrivals import LONGEST_S, ArrivalProcess, Poisson
from adapter_twin.workload.lengths import LengthDistribution, Lognormal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from adapter_twin.profile import Profile
    from adapter_twin.profile.model import TokenLengths

BASE_MODEL = -1
"""Index of requests for no adapter."""

MOST_REQUESTS = 20_000_000
"""Of one simulation; they and their records take some 400 bytes each."""

_UNBOUNDED_TOKENS = 2**31 - 1
_POISSON = Poisson()

_COLUMNS: dict[str, type[np.generic]] = {
    "arrival_s": np.float64,
    "prompt_tokens": np.int32,
    "output_tokens": np.int32,
    "adapter": np.int32,
}


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter and its demand."""

    name: str
    rate: float
    """Requests per second."""
    rank: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.rate) and self.rate >= 0):
            raise WorkloadError(
                f"adapter {self.name}: rate {self.rate:g} is not allowed, it must be 0 or more requests/s"
            )
        if self.rank not in ALLOWED_LORA_RANKS:
            allowed = ", ".join(map(str, ALLOWED_LORA_RANKS))
            raise WorkloadError(f"adapter {self.name}: rank {self.rank} is not one of {allowed}")


@dataclass(frozen=True)
class Workload:
    """Adapters that send requests independently, with common distributions of token lengths."""

    adapters: tuple[Adapter, ...]
    prompt: LengthDistribution
    output: LengthDistribution
    duration_s: float
    correlation: float = 0.0
    """Between prompt and output length, of the normal scores."""
    max_total_tokens: int = _UNBOUNDED_TOKENS
    """Prompt and output together; longer requests have their outputs cut."""
    arrivals: ArrivalProcess = _POISSON

    def __post_init__(self) -> None:
        require_distinct(adapter.name for adapter in self.adapters)
        require_duration(self.duration_s)
        expected = self.duration_s * sum(adapter.rate for adapter in self.adapters)
        if expected > MOST_REQUESTS:
            raise WorkloadError(
                f"workload: {expected:.3g} requests are too many, at most {MOST_REQUESTS:,} can be "
                "simulated; shorten duration_s or lower the rates"
            )
        if not -1 < self.correlation < 1:
            raise WorkloadError(
                f"correlation: {self.correlation:g} is not allowed, it must lie between -1 and 1"
            )
        if not 2 <= self.max_total_tokens <= _UNBOUNDED_TOKENS:
            raise WorkloadError(
                f"max_total_tokens: {self.max_total_tokens} is not allowed, it must lie between 2 "
                f"and {_UNBOUNDED_TOKENS}"
            )

    @classmethod
    def for_profile(
        cls,
        profile: Profile,
        adapters: Iterable[Adapter],
        duration_s: float,
        arrivals: ArrivalProcess = _POISSON,
    ) -> Workload:
        """The adapters' workload with the token lengths that the profile assumes."""
        lengths = profile.workload_defaults
        return cls(
            adapters=tuple(adapters),
            prompt=lognormal(lengths.prompt),
            output=lognormal(lengths.output),
            duration_s=duration_s,
            correlation=lengths.correlation,
            max_total_tokens=lengths.max_total_tokens,
            arrivals=arrivals,
        )


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests as arrays of equal length, sorted by arrival."""

    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    adapter: NDArray[np.int32]
    """Index into the adapters; -1 for the base model."""

    def __post_init__(self) -> None:
        for name, dtype in _COLUMNS.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=dtype))
        sizes = {self.arrival_s.size, self.prompt_tokens.size, self.output_tokens.size, self.adapter.size}
        if len(sizes) > 1:
            raise WorkloadError(f"requests: columns have different lengths, {sorted(sizes)}")
        if self.arrival_s.size == 0:
            return
        if np.any(np.diff(self.arrival_s) < 0) or self.arrival_s[0] < 0:
            raise WorkloadError("arrival_s: arrivals must be sorted and not negative")
        if min(self.prompt_tokens.min(), self.output_tokens.min()) < 1:
            raise WorkloadError("prompt_tokens, output_tokens: every request needs at least 1 of each")
        if self.adapter.min() < BASE_MODEL:
            raise WorkloadError("adapter: an index must be -1 for the base model, or 0 or more")

    @property
    def count(self) -> int:
        """Number of requests."""
        return int(self.arrival_s.size)

    def select(self, chosen: NDArray[np.bool_]) -> Requests:
        """Those requests that a mask chooses, in order."""
        return Requests(
            self.arrival_s[chosen],
            self.prompt_tokens[chosen],
            self.output_tokens[chosen],
            self.adapter[chosen],
        )


def lognormal(lengths: TokenLengths) -> Lognormal:
    """The distribution that a profile's token lengths describe."""
    return Lognormal(lengths.mean, lengths.sigma, lengths.minimum, lengths.maximum)


def require_duration(duration_s: float) -> None:
    """Reject what no simulation lasts."""
    if not 0 < duration_s <= LONGEST_S:
        raise WorkloadError(
            f"duration_s: {duration_s:g} is not allowed, it must be positive and at most {LONGEST_S:g}"
        )


def require_distinct(names: Iterable[str], field: str = "adapters") -> None:
    """Reject adapters, or whatever `field` holds, that share a name."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise WorkloadError(f"{field}: the name {twice[0]} appears more than once, names must be distinct")
