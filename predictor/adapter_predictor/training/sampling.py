"""Which loads the twin is asked about: stratified, and drawn towards the edge of starvation.

Sample i of a seed is the same whatever was drawn before it, in whichever process.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.features import FEATURE_INDEX, FeatureFunction
from adapter_predictor.load import SLOT_GRID, LoadBatch, ReplicaLoad
from adapter_twin.profile import Profile

FloatArray = NDArray[np.float64]

RANKS: Final = {8: 0.24, 16: 0.28, 32: 0.24, 64: 0.12, 128: 0.08, 256: 0.04}
"""How often each rank is drawn, among those whose slots fit in memory."""

MOST_ADAPTERS: Final = 1000

EDGE: Final = (0.85, 0.98)
"""Served fractions between which a load is at the edge of starvation."""

EDGE_SHARE: Final = 0.74
"""Share of samples that are drawn for the edge; the others lie far on either side."""

_STEADY_EDGE: Final = (0.87, 0.989)
"""Where the steady state serves this much, the twin mostly serves `EDGE`."""

_EDGE_JITTER: Final = 0.015
_IDLE_SHARE: Final = 0.6
_IDLE_FACTORS: Final = (0.05, 0.97)
_OVERLOAD_FACTORS: Final = (1.05, 3.0)
_USUAL_LENGTHS_SHARE: Final = 0.5
_LENGTH_FACTORS: Final = (0.4, 2.5)
_LENGTH_MARGIN: Final = 0.55
_RATE_BISECTIONS: Final = 30
_TOWARDS_MANY: Final = 0.7
_SPREADS: Final = (0.34, 0.24, 0.21, 0.21)
"""How often traffic is spread in each of the ways of `_weights`."""
_DIGITS: Final = 6
"""Significant digits of rates and lengths: the last bits of a logarithm differ between processors."""


@dataclass(frozen=True)
class Sampler:
    """Draws loads for one profile.

    Attributes:
        profile: The profile.
        seed: Of all samples.
    """

    profile: Profile
    seed: int

    def draw(self, index: int) -> ReplicaLoad:
        """Sample number `index`."""
        rng = np.random.default_rng([self.seed, index])
        features = FeatureFunction(self.profile)
        slots, rank = _slots(rng, features)
        prompt, output = self._lengths(rng)
        weights = _weights(rng, _adapters(rng))
        template = ReplicaLoad(tuple((weights / weights.sum()).tolist()), prompt, output, slots, rank)
        return _rounded_load(template.scaled(_rate(rng, template, features)))

    def fitting_slots(self, rank: int) -> list[int]:
        """The choices of slots of a rank that fit in memory."""
        features = FeatureFunction(self.profile)
        return [slots for slots in SLOT_GRID if features.memory(slots, rank).fits]

    def arrivals_seed(self, index: int) -> int:
        """The seed of sample number `index`'s arrivals, shared with no sample of another seed."""
        return int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint32)[0])

    def _lengths(self, rng: np.random.Generator) -> tuple[float, float]:
        """Mean prompt and output tokens: half of the time the profile's own."""
        shape = self.profile.workload_defaults
        if rng.random() < _USUAL_LENGTHS_SHARE:
            return shape.prompt.mean, shape.output.mean
        factors = np.exp(rng.uniform(math.log(_LENGTH_FACTORS[0]), math.log(_LENGTH_FACTORS[1]), size=2))
        limits = _LENGTH_MARGIN * np.array([shape.prompt.maximum, 0.5 * shape.output.maximum])
        prompt, output = np.minimum(factors * (shape.prompt.mean, shape.output.mean), limits)
        return float(prompt), float(output)


def at_edge(served: FloatArray) -> NDArray[np.bool_]:
    """Which served fractions lie at the edge of starvation."""
    return (served >= EDGE[0]) & (served <= EDGE[1])


def edge_share(served: FloatArray) -> float:
    """How many of the served fractions lie there, 0 to 1."""
    return float(at_edge(served).mean())


def _slots(rng: np.random.Generator, features: FeatureFunction) -> tuple[int, int]:
    """Slots and rank that fit in memory."""
    fitting = {rank: [slots for slots in SLOT_GRID if features.memory(slots, rank).fits] for rank in RANKS}
    ranks = [rank for rank in RANKS if fitting[rank]]
    weights = np.array([RANKS[rank] for rank in ranks])
    rank = int(rng.choice(ranks, p=weights / weights.sum()))
    return int(rng.choice(fitting[rank])), rank


def _adapters(rng: np.random.Generator) -> int:
    """Their number: logarithmically uniform, but for more of the hundreds that replicas are made for."""
    return round(math.exp(rng.random() ** _TOWARDS_MANY * math.log(MOST_ADAPTERS)))


def _weights(rng: np.random.Generator, adapters: int) -> FloatArray:
    """How the traffic is spread over adapters: cycles of rates, Zipf, lognormal, or a few hot ones."""
    match int(rng.choice(4, p=_SPREADS)):
        case 0:
            rates = np.exp(rng.uniform(np.log(0.003), np.log(3.2), size=int(rng.integers(1, 4))))
            return np.resize(rates, adapters)
        case 1:
            return np.arange(1, adapters + 1, dtype=np.float64) ** -rng.uniform(0.0, 1.6)
        case 2:
            return np.exp(rng.uniform(0.0, 2.0) * rng.standard_normal(adapters))
        case _:
            hot = rng.uniform(0.0, 0.3)
            return np.where(rng.random(adapters) < hot, rng.uniform(5.0, 100.0), 1.0)


def _rate(rng: np.random.Generator, template: ReplicaLoad, features: FeatureFunction) -> float:
    """Requests/s: mostly such that the steady state is at the edge."""
    if rng.random() < EDGE_SHARE:
        target = rng.uniform(*_STEADY_EDGE)
        jitter = math.exp(_EDGE_JITTER * rng.standard_normal())
        return _rate_that_serves(target, template, features) * jitter
    edge = _rate_that_serves(0.98, template, features)
    low, high = _IDLE_FACTORS if rng.random() < _IDLE_SHARE else _OVERLOAD_FACTORS
    return edge * math.exp(rng.uniform(math.log(low), math.log(high)))


def _rounded_load(load: ReplicaLoad) -> ReplicaLoad:
    """The load in figures that are the same on every processor."""
    rates = tuple(rounded(rate) for rate in load.rates)
    means = rounded(load.prompt_tokens_mean), rounded(load.output_tokens_mean)
    return ReplicaLoad(rates, *means, load.max_loras, load.max_lora_rank)


def rounded(value: float) -> float:
    """A figure in a few significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def _rate_that_serves(served: float, template: ReplicaLoad, features: FeatureFunction) -> float:
    """The rate at which the steady state serves this fraction."""
    low, high = math.log(1e-3), math.log(1e3)
    column = FEATURE_INDEX["steady_served"]
    for _ in range(_RATE_BISECTIONS):
        middle = 0.5 * (low + high)
        load = template.scaled(math.exp(middle))
        if features.matrix(LoadBatch.of([load]))[0, column] >= served:
            low = middle
        else:
            high = middle
    return math.exp(low)
