"""Distributions of token lengths: from a uniform quantile, or a normal score, to a number of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erf, ndtr, ndtri

from adapter_twin.errors import WorkloadError
from adapter_twin.workload.looking_up import GUIDE_CELLS, GUIDE_REACH, look_up

if TYPE_CHECKING:
    from numpy.typing import NDArray


MOST_TOKENS = 2**30 - 1
"""Of a prompt or an output; together they fit into 32 bits."""


@dataclass(frozen=True)
class Fixed:
    """Always the same number of tokens."""

    tokens: int

    def __post_init__(self) -> None:
        _require_tokens("tokens", self.tokens)

    @property
    def mean(self) -> float:
        """Mean in tokens."""
        return float(self.tokens)

    def quantile(self, probability: NDArray[np.float64]) -> NDArray[np.int32]:
        """Tokens at the given probabilities, same shape."""
        return np.full(probability.shape, self.tokens, dtype=np.int32)


@dataclass(frozen=True)
class Lognormal:
    """A lognormal truncated to [minimum, maximum]; `mean` (tokens) is that of the truncated distribution."""

    mean: float
    sigma: float
    """Standard deviation of the logarithm before truncation."""
    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        _require_tokens("minimum", self.minimum)
        _require_tokens("maximum", self.maximum)
        _require(
            self.minimum < self.mean < self.maximum,
            f"mean: {self.mean:g} is not allowed, it must lie between minimum {self.minimum} "
            f"and maximum {self.maximum}",
        )
        _require(
            0 < self.sigma <= 5, f"sigma: {self.sigma:g} is not allowed, it must be above 0 and at most 5"
        )

    @property
    def mu(self) -> float:
        """Mean of the logarithm before truncation."""
        return _lognormal_mu(self.mean, self.sigma, self.minimum, self.maximum)

    @property
    def span(self) -> int:
        """Tokens between the bounds."""
        return self.maximum - self.minimum

    def quantile(self, probability: NDArray[np.float64]) -> NDArray[np.int32]:
        """Tokens at the given probabilities, same shape."""
        low, high = ndtr((np.log([self.minimum, self.maximum]) - self.mu) / self.sigma)
        tokens = np.exp(self.mu + self.sigma * ndtri(low + probability * (high - low)))
        whole: NDArray[np.int32] = np.clip(np.rint(tokens), self.minimum, self.maximum).astype(np.int32)
        return whole


@dataclass(frozen=True)
class Empirical:
    """Observed lengths, each as likely as it is frequent."""

    values: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(bool(self.values), "values: an empirical distribution needs at least one length")
        for tokens in (min(self.values), max(self.values)):
            _require_tokens("values", tokens)

    @property
    def mean(self) -> float:
        """Mean in tokens."""
        return math.fsum(self.values) / len(self.values)

    def quantile(self, probability: NDArray[np.float64]) -> NDArray[np.int32]:
        """Tokens at the given probabilities, same shape."""
        ordered = np.sort(np.asarray(self.values, dtype=np.int32))
        place = (probability * ordered.size).astype(np.int64)
        chosen: NDArray[np.int32] = ordered[np.minimum(place, ordered.size - 1)]
        return chosen


LengthDistribution = Fixed | Lognormal | Empirical

_MU_TOLERANCE = 1e-11

_TABULATED_TOKENS = 1 << 16
"""Lognormals over more different lengths are computed for every request, the others looked up."""


def tokens_at(distribution: LengthDistribution, scores: NDArray[np.float64]) -> NDArray[np.int32]:
    """Tokens at normal scores: those at the quantile of the scores' probability, looked up; same shape."""
    if isinstance(distribution, Lognormal) and distribution.span > _TABULATED_TOKENS:
        return distribution.quantile(ndtr(scores))
    return _score_table(distribution).at(scores)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """A step function of the normal score."""

    cuts: NDArray[np.float64]
    """Scores where the next value begins, ascending, shape (values - 1,)."""
    values: NDArray[np.int32]

    def at(self, scores: NDArray[np.float64]) -> NDArray[np.int32]:
        """The values at the scores, same shape."""
        tokens: NDArray[np.int32] = look_up(self.cuts, self.values, self._guide, np.ascontiguousarray(scores))
        return tokens

    @cached_property
    def _guide(self) -> NDArray[np.int32]:
        """The value at the left edge of each of many equal cells; the first cell reaches down to -inf."""
        edges = np.linspace(-GUIDE_REACH, GUIDE_REACH, GUIDE_CELLS, endpoint=False)
        edges[0] = -np.inf
        return np.searchsorted(self.cuts, edges, side="right").astype(np.int32)


@lru_cache(maxsize=64)
def _score_table(distribution: LengthDistribution) -> ScoreTable:
    match distribution:
        case Fixed(tokens):
            return ScoreTable(np.empty(0), np.array([tokens], dtype=np.int32))
        case Lognormal(minimum=minimum, maximum=maximum, sigma=sigma, mu=mu):
            values = np.arange(minimum, maximum + 1, dtype=np.int32)
            low, high = ndtr((np.log([minimum, maximum]) - mu) / sigma)
            probability = (ndtr((np.log(values[1:] - 0.5) - mu) / sigma) - low) / (high - low)
            return ScoreTable(ndtri(np.clip(probability, 0.0, 1.0)), values)
        case Empirical(values=observed):
            distinct, counts = np.unique(np.asarray(observed, dtype=np.int32), return_counts=True)
            return ScoreTable(ndtri(np.cumsum(counts[:-1]) / len(observed)), distinct)


def _require_tokens(field: str, tokens: int) -> None:
    _require(tokens >= 1, f"{field}: {tokens} is not allowed, it must be at least 1")
    _require(tokens <= MOST_TOKENS, f"{field}: {tokens} is not allowed, it must be at most {MOST_TOKENS}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise WorkloadError(message)


@lru_cache(maxsize=1024)
def _lognormal_mu(mean: float, sigma: float, minimum: int, maximum: int) -> float:
    """Solve for the location that gives the truncated distribution its declared mean, by bisection."""
    low, high = math.log(minimum), math.log(maximum)
    reach = 12.0 * sigma * sigma + 2.0 * sigma
    below, above = low - reach, high + reach
    while above - below > _MU_TOLERANCE:
        middle = 0.5 * (below + above)
        if _truncated_mean(middle, sigma, low, high) < mean:
            below = middle
        else:
            above = middle
    return 0.5 * (below + above)


def _truncated_mean(mu: float, sigma: float, low: float, high: float) -> float:
    a, b = (low - mu) / sigma, (high - mu) / sigma
    return math.exp(mu + 0.5 * sigma * sigma) * _mass(a - sigma, b - sigma) / _mass(a, b)


def _mass(a: float, b: float) -> float:
    """Probability of a standard normal between a and b, precise in both tails."""
    if a > 0:
        a, b = -b, -a
    if b > 0:
        return 0.5 * float(erf(b / math.sqrt(2)) - erf(a / math.sqrt(2)))
    return float(ndtr(b) - ndtr(a))
