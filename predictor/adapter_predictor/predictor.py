"""Predictors: the interface, the trees behind it, and the twin where there are none."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache

import numpy as np

from adapter_predictor.artifact import (
    GENERAL,
    TARGETS,
    Artifact,
    TargetName,
    find_artifact,
    prediction_hash,
)
from adapter_predictor.errors import ArtifactError
from adapter_predictor.explanation import Explanation, described_path, nearest_flip, other_flips, quantity
from adapter_predictor.features import FEATURE_INDEX, FEATURES, FeatureFunction
from adapter_predictor.load import SLOT_GRID, LoadBatch, ReplicaLoad
from adapter_predictor.physics import HORIZON_S
from adapter_predictor.prediction import FloatArray, Prediction, PredictionBatch
from adapter_predictor.simulation import simulate_load
from adapter_predictor.trees import Tree
from adapter_twin.memory import MemoryVerdict
from adapter_twin.profile import Profile
from adapter_twin.report import Report, Status

_STEADY_STATE = ("utilisation", "kv_demand", "active_adapters", "slot_pressure")
"""What a person is told where there is no decision path."""

GENERAL_WIDENING = 2.0
"""How much further off the bounds of general trees lie than those of a profile's own."""

_AS_PRINTED = 0.005
"""Part by which a value may lie outside of what was trained and look the same in three digits."""

_log = logging.getLogger(__name__)


@cache
def _tell_once(trouble: str, instead: str) -> None:
    """Warn of trees that are missing: once in a process, for it is found out anew with every plan."""
    _log.warning("%s; predicting with %s. `adaptwin predictor train` makes its own.", trouble, instead)


class Predictor(ABC):
    """Says what replicas will do with their loads.

    Attributes:
        profile: The profile that it predicts for.
        source: Where its answers come from, in words.
    """

    profile: Profile
    source: str

    @classmethod
    def for_profile(cls, profile: Profile) -> "Predictor":
        """The trees that are shipped for a profile; where none fit it, others in their place, with a warning.

        A derived profile gets general trees, with wider bounds. A calibrated one is worth its own, and gets
        the twin itself until they are trained.
        """
        artifact = find_artifact(profile.name)
        if artifact is not None and artifact.profile_hash == prediction_hash(profile):
            return TreePredictor(profile, artifact)
        general = find_artifact(GENERAL) if profile.origin == "derived" else None
        _tell_once(
            f"No trees are shipped for {profile.name}"
            if artifact is None
            else f"The trees shipped for {profile.name} were trained on another version of it",
            "the twin itself, which is slow" if general is None else "general trees and wider bounds",
        )
        return TwinPredictor(profile) if general is None else TreePredictor(profile, general)

    @abstractmethod
    def predict_batch(self, loads: LoadBatch) -> PredictionBatch:
        """What many replicas will do."""

    @abstractmethod
    def memory(self, max_loras: int, max_lora_rank: int) -> MemoryVerdict:
        """Whether a replica with these slots starts."""

    @abstractmethod
    def explain(self, load: ReplicaLoad, served_fraction: float = 0.95) -> Explanation:
        """Why a replica does what it does, and at which rate it ceases to serve `served_fraction`."""

    def predict(self, load: ReplicaLoad) -> Prediction:
        """What one replica will do."""
        return self.predict_batch(LoadBatch.of([load]))[0]

    def _served(self, loads: Sequence[ReplicaLoad]) -> FloatArray:
        return self.predict_batch(LoadBatch.of(loads)).served_fraction


class TreePredictor(Predictor):
    """Predicts with an artifact's trees."""

    def __init__(self, profile: Profile, artifact: Artifact) -> None:
        own = artifact.profile_hash is not None
        if own and artifact.profile_hash != prediction_hash(profile):
            raise ArtifactError(
                f"artifact: it was trained for {artifact.profile} as it was then, not for {profile.name}"
            )
        self.profile = profile
        self.artifact = artifact
        self.source = f"decision trees trained on {artifact.samples:,} runs of the twin"
        if not own:
            self.source = f"general {self.source}, none of them of this profile"
        self.features = FeatureFunction(profile)
        self.trees = {name: self._tree(name) for name in TARGETS}
        scales = {name: artifact.targets[name].scale for name in TARGETS}
        self._scales = {name: None if one is None else FEATURE_INDEX[one] for name, one in scales.items()}

    def memory(self, max_loras: int, max_lora_rank: int) -> MemoryVerdict:
        """Whether a replica with these slots starts."""
        return self.features.memory(max_loras, max_lora_rank)

    def predict_batch(self, loads: LoadBatch) -> PredictionBatch:
        """What many replicas will do: one walk down each tree."""
        x = self.features.matrix(loads)
        served, served_low, _ = self.target("served_fraction", x)
        throughput, throughput_low, _ = self.target("throughput_tokens_per_s", x)
        itl, _, itl_high = self.target("itl_s", x)
        ttft, _, ttft_high = self.target("ttft_s", x)
        fits = self.features.fits(loads)
        return PredictionBatch(
            fits=fits,
            served_fraction=np.where(fits, np.clip(served, 0.0, 1.0), 0.0),
            throughput_tokens_per_s=np.where(fits, throughput, 0.0),
            itl_s=np.where(fits, itl, np.inf),
            ttft_s=np.where(fits, ttft, np.inf),
            served_fraction_low=np.where(fits, np.clip(served_low, 0.0, 1.0), 0.0),
            throughput_low_tokens_per_s=np.where(fits, throughput_low, 0.0),
            itl_high_s=np.where(fits, itl_high, np.inf),
            ttft_high_s=np.where(fits, ttft_high, np.inf),
        )

    def target_one(self, name: TargetName, x: FloatArray) -> float:
        """One target at one feature vector, shape (len(FEATURES)): the quickest there is."""
        value, scale = self.trees[name].predict_one(x), self._scales[name]
        return value if scale is None else value * float(x[scale])

    def target(self, name: TargetName, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """One target at many feature vectors: the estimate and its bounds, each of shape (n)."""
        tree, scale = self.trees[name], self._scales[name]
        leaves = tree.leaves(x)
        factor = 1.0 if scale is None else x[:, scale]
        return tree.value[leaves] * factor, tree.low[leaves] * factor, tree.high[leaves] * factor

    def _tree(self, name: TargetName) -> Tree:
        """A target's tree; general ones have their bounds further off."""
        tree = self.artifact.targets[name].tree.tree()
        return tree if self.artifact.profile_hash is not None else tree.widened(GENERAL_WIDENING)

    def explain(self, load: ReplicaLoad, served_fraction: float = 0.95) -> Explanation:
        """The path through the tree of the served fraction."""
        x = self.features.vector(load)
        tree = self.trees["served_fraction"]
        return Explanation(
            path=(self._corrected(x), *described_path(tree, x)),
            nearest_flip=nearest_flip(self._served, load, served_fraction),
            other_flips=other_flips(self._served, load, served_fraction, SLOT_GRID),
            warnings=(*self._borrowed(), *self._extrapolations(x)),
        )

    def _borrowed(self) -> tuple[str, ...]:
        """That the trees are not the profile's own, where they are not."""
        if self.artifact.profile_hash is not None:
            return ()
        return (f"no trees are trained for {self.profile.name}; general ones answer, with wider bounds",)

    def _corrected(self, x: FloatArray) -> str:
        """The closed form that the served fraction's tree starts from, and what it makes of it."""
        scale = self.artifact.targets["served_fraction"].scale
        factor = self.trees["served_fraction"].predict_one(x)
        if scale is None:
            return f"the tree's leaf: {factor:.3g}"
        feature = FEATURES[FEATURE_INDEX[scale]]
        value = quantity(feature, float(x[FEATURE_INDEX[scale]]))
        return f"{feature.description}: {value}, which the tree multiplies by {factor:.3g}"

    def _extrapolations(self, x: FloatArray) -> tuple[str, ...]:
        """Where a feature vector lies outside of what the trees were trained on."""
        ranges = zip(FEATURES, self.artifact.features, x, strict=True)
        return tuple(
            f"{feature.description}: {quantity(feature, value)} is outside of what was trained "
            f"({quantity(feature, trained.lower)} to {quantity(feature, trained.upper)})"
            for feature, trained, value in ranges
            if not (1.0 - _AS_PRINTED) * trained.lower <= value <= (1.0 + _AS_PRINTED) * trained.upper
        )


class SteadyStatePredictor(Predictor):
    """Predicts with the closed form alone, which the trees correct: quick, and blind to chance."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.source = "the steady state in closed form"
        self.features = FeatureFunction(profile)

    def memory(self, max_loras: int, max_lora_rank: int) -> MemoryVerdict:
        """Whether a replica with these slots starts."""
        return self.features.memory(max_loras, max_lora_rank)

    def predict_batch(self, loads: LoadBatch) -> PredictionBatch:
        """What many replicas will do; the bounds are the estimates."""
        x = self.features.matrix(loads)
        fits = self.features.fits(loads)
        served = np.where(fits, x[:, FEATURE_INDEX["steady_served"]], 0.0)
        throughput = np.where(fits, x[:, FEATURE_INDEX["steady_throughput"]], 0.0)
        itl = np.where(fits, x[:, FEATURE_INDEX["steady_itl"]], np.inf)
        ttft = np.where(fits, x[:, FEATURE_INDEX["steady_ttft"]], np.inf)
        return PredictionBatch(fits, served, throughput, itl, ttft, served, throughput, itl, ttft)

    def explain(self, load: ReplicaLoad, served_fraction: float = 0.95) -> Explanation:
        """The steady state in words."""
        x = self.features.vector(load)
        told = [FEATURES[FEATURE_INDEX[name]] for name in _STEADY_STATE]
        path = tuple(
            f"{feature.description}: {quantity(feature, float(x[FEATURE_INDEX[feature.name]]))}"
            for feature in told
        )
        return Explanation(
            path,
            nearest_flip(self._served, load, served_fraction),
            other_flips(self._served, load, served_fraction, SLOT_GRID),
        )


class TwinPredictor(Predictor):
    """Predicts by simulating: slower, for profiles without trees.

    Args:
        profile: The profile.
        horizon_s: Simulated seconds of each replica.
        seed: Of the arrivals.
    """

    SERVED_MARGIN = 0.01
    LATENCY_MARGIN = 0.1
    """What another seed may change: pessimistic bounds lie this much beside the simulated figures."""

    def __init__(self, profile: Profile, *, horizon_s: float = HORIZON_S, seed: int = 0) -> None:
        self.profile = profile
        self.source = "the twin itself: no trees are trained for this profile"
        self.horizon_s = horizon_s
        self.seed = seed
        self._steady = SteadyStatePredictor(profile)
        self._known: dict[ReplicaLoad, Prediction] = {}

    def memory(self, max_loras: int, max_lora_rank: int) -> MemoryVerdict:
        """Whether a replica with these slots starts."""
        return self._steady.memory(max_loras, max_lora_rank)

    def predict_batch(self, loads: LoadBatch) -> PredictionBatch:
        """Simulate the replicas one after another; a load met before is not simulated again."""
        return PredictionBatch.of([self._simulated(loads.load(index)) for index in range(len(loads))])

    def explain(self, load: ReplicaLoad, served_fraction: float = 0.95) -> Explanation:
        """The steady state in words: the twin has no decision path, and is too slow to look for flips."""
        return self._steady.explain(load, served_fraction)

    def _simulated(self, load: ReplicaLoad) -> Prediction:
        if load not in self._known:
            report = simulate_load(self.profile, load, seed=self.seed, horizon_s=self.horizon_s)
            self._known[load] = self._prediction(report)
        return self._known[load]

    def _prediction(self, report: Report) -> Prediction:
        fits = report.status is not Status.OUT_OF_MEMORY
        if not fits:
            return Prediction(fits, 0.0, 0.0, np.inf, np.inf, 0.0, 0.0, np.inf, np.inf)
        served, throughput = report.served_fraction, report.throughput_tokens_per_s
        itl, ttft = _finite(report.itl_s.mean), _finite(report.ttft_s.mean)
        return Prediction(
            fits=fits,
            served_fraction=served,
            throughput_tokens_per_s=throughput,
            itl_s=itl,
            ttft_s=ttft,
            served_fraction_low=max(0.0, served - self.SERVED_MARGIN),
            throughput_low_tokens_per_s=throughput * (1.0 - self.SERVED_MARGIN),
            itl_high_s=itl * (1.0 + self.LATENCY_MARGIN),
            ttft_high_s=ttft * (1.0 + self.LATENCY_MARGIN),
        )


def _finite(seconds: float) -> float:
    """A latency, 0 where no request finished that would have one."""
    return seconds if np.isfinite(seconds) else 0.0
