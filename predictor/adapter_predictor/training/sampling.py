"""Which loads the twin is asked about: stratified, and drawn towards the edge of starvation.

Sample i of a seed is the same whatever was drawn before it, in whichever process.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.features import FEATURE_INDEX, FeatureFunction
from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.placement.judge import SLOT_GRID
from adapter_twin.profile import Profile

FloatArray = NDArray[np.float64]

RANKS: Final = (8, 16, 32, 64)
MOST_ADAPTERS: Final = 1000

EDGE_SHARE: Final = 0.65
"""Share of samples whose steady state serves between `EDGE`; the others lie far on either side."""

EDGE: Final = (0.86, 0.999)
_EDGE_SHIFT: Final = -0.05
_EDGE_JITTER: Final = 0.09
"""The twin starves a little before the steady state does, by a different lot for each load."""
_IDLE_SHARE: Final = 0.6
_IDLE_FACTORS: Final = (0.05, 0.97)
_OVERLOAD_FACTORS: Final = (1.05, 3.0)
_USUAL_LENGTHS_SHARE: Final = 0.5
_LENGTH_FACTORS: Final = (0.4, 2.5)
_LENGTH_MARGIN: Final = 0.55
_RATE_BISECTIONS: Final = 30


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
        return template.scaled(_rate(rng, template, features))

    def _lengths(self, rng: np.random.Generator) -> tuple[float, float]:
        """Mean prompt and output tokens: half of the time the profile's own."""
        shape = self.profile.workload_defaults
        if rng.random() < _USUAL_LENGTHS_SHARE:
            return shape.prompt.mean, shape.output.mean
        factors = np.exp(rng.uniform(math.log(_LENGTH_FACTORS[0]), math.log(_LENGTH_FACTORS[1]), size=2))
        limits = _LENGTH_MARGIN * np.array([shape.prompt.maximum, 0.5 * shape.output.maximum])
        prompt, output = np.minimum(factors * (shape.prompt.mean, shape.output.mean), limits)
        return float(prompt), float(output)


def _slots(rng: np.random.Generator, features: FeatureFunction) -> tuple[int, int]:
    """Slots and rank that fit in memory."""
    rank = int(rng.choice(RANKS))
    fitting = [slots for slots in SLOT_GRID if features.memory(slots, rank).fits]
    return int(rng.choice(fitting)), rank


def _adapters(rng: np.random.Generator) -> int:
    return round(math.exp(rng.uniform(0.0, math.log(MOST_ADAPTERS))))


def _weights(rng: np.random.Generator, adapters: int) -> FloatArray:
    """How the traffic is spread over adapters: cycles of rates, Zipf, lognormal, or a few hot ones."""
    match int(rng.integers(4)):
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
        target = rng.uniform(*EDGE)
        jitter = math.exp(_EDGE_SHIFT + _EDGE_JITTER * rng.standard_normal())
        return _rate_that_serves(target, template, features) * jitter
    edge = _rate_that_serves(0.98, template, features)
    low, high = _IDLE_FACTORS if rng.random() < _IDLE_SHARE else _OVERLOAD_FACTORS
    return edge * math.exp(rng.uniform(math.log(low), math.log(high)))


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
