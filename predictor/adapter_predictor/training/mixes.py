"""Trees about mixes, distilled from the trees about replicas: what a walk over them finds, briefly."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.artifact import MIX_TARGETS, Artifact, MixTargetName, MixTrees
from adapter_predictor.mix_features import MIX_FEATURES
from adapter_predictor.mix_prediction import MixPredictor
from adapter_predictor.optima import Mix
from adapter_predictor.predictor import TreePredictor
from adapter_predictor.training import regression
from adapter_predictor.training.fit import ranges
from adapter_predictor.training.regression import Problem, Progress, solve
from adapter_predictor.training.sampling import Sampler, rounded
from adapter_twin.profile import Profile

FloatArray = NDArray[np.float64]

SCALES: Final[dict[MixTargetName, str]] = {
    "most_adapters": "steady_adapters",
    "best_slots": "steady_slots",
    "best_throughput_tokens_per_s": "steady_throughput",
}
"""The feature that a target's tree multiplies."""

MIXES: Final = 1200
STEPS: Final = MIXES + len(MIX_TARGETS) * regression.STEPS
"""Pieces of work."""

_RATES: Final = (0.004, 4.0)
_LONGEST_CYCLE: Final = 24
_CYCLE_OF_THREE: Final = 0.5
_SPREAD: Final = 1.5


def draw_mix(sampler: Sampler, index: int) -> Mix:
    """Mix number `index`: a cycle of rates, lengths, and a rank."""
    rng = np.random.default_rng([sampler.seed, index, 1])
    load = sampler.draw(index)
    mean = math.exp(rng.uniform(math.log(_RATES[0]), math.log(_RATES[1])))
    length = 3 if rng.random() < _CYCLE_OF_THREE else int(rng.integers(1, _LONGEST_CYCLE + 1))
    weights = np.exp(rng.uniform(0.0, _SPREAD) * rng.standard_normal(length))
    rates = tuple(rounded(float(rate)) for rate in mean * weights / weights.mean())
    return Mix(rates, load.prompt_tokens_mean, load.output_tokens_mean, load.max_lora_rank)


def with_mix_trees(
    artifact: Artifact, profile: Profile, seed: int, progress: Progress = lambda: None
) -> Artifact:
    """The artifact with trees about mixes.

    Args:
        artifact: Trees about replicas.
        profile: The profile.
        seed: Of the mixes.
        progress: Called after each of `STEPS` pieces of work.
    """
    predictor, sampler = MixPredictor(TreePredictor(profile, artifact)), Sampler(profile, seed)
    rows, found = [], []
    for index in range(MIXES):
        x, answer = predictor.surveyed(draw_mix(sampler, index))
        if answer is not None:
            rows.append(x)
            found.append((answer.adapters, answer.max_loras, answer.throughput))
        progress()
    seen, targets = np.array(rows), np.array(found, dtype=np.float64)
    trees = {
        name: solve(_problem(name, seen, column), progress)
        for name, column in zip(MIX_TARGETS, targets.T, strict=True)
    }
    mix_trees = MixTrees(mixes=len(seen), seed=seed, features=ranges(MIX_FEATURES, seen), targets=trees)
    return artifact.model_copy(update={"mix": mix_trees}).sealed()


def _problem(name: MixTargetName, x: FloatArray, target: FloatArray) -> Problem:
    return Problem(
        features=MIX_FEATURES,
        x=x,
        scale=SCALES[name],
        target=target,
        edge=np.zeros(len(x), dtype=np.bool_),
        monotone=name == "most_adapters",
        logarithmic=True,
        medians=True,
        simple_scaled=False,
    )
