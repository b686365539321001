"""Fitting the trees of an artifact, from one profile's dataset or from several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.artifact import (
    GENERAL,
    LATENCIES,
    TARGETS,
    Artifact,
    DatasetProvenance,
    FeatureRange,
    TargetName,
    prediction_hash,
)
from adapter_predictor.errors import DatasetError
from adapter_predictor.features import FEATURES, Feature, FeatureFunction
from adapter_predictor.training import regression
from adapter_predictor.training.dataset import Dataset
from adapter_predictor.training.regression import BOUND_PERCENT, LEAF_SAMPLES, Problem, Progress, solve
from adapter_predictor.training.sampling import EDGE, at_edge
from adapter_twin.profile import Profile

FloatArray = NDArray[np.float64]

FEWEST_SAMPLES: Final = 10 * LEAF_SAMPLES
STEPS: Final = len(TARGETS) * regression.STEPS
"""Pieces of work of a training."""

SCALES: Final[dict[TargetName, str]] = {
    "served_fraction": "steady_served",
    "throughput_tokens_per_s": "steady_throughput",
    "itl_s": "steady_itl",
    "ttft_s": "steady_ttft",
}
"""The feature that a target's tree multiplies."""

IDLE_TIGHTNESS: Final = 0.8
"""Up to this use of the scarcest resource a replica serves everything: the twin agrees within 2 %.

Without a leaf of their own, idle replicas share leaves with crowded ones, and inherit their bounds.
"""

_FAR_BELOW_WEIGHT: Final = 0.3
"""How much loads that starve badly count for the tree that people read: they ask where starvation begins."""


@dataclass(frozen=True)
class _Runs:
    """Runs of the twin as the trees see them: features (n, len(FEATURES)), and each target (n)."""

    x: FloatArray
    targets: Mapping[TargetName, FloatArray]

    @classmethod
    def of(cls, dataset: Dataset, profile: Profile) -> "_Runs":
        x = FeatureFunction(profile).matrix(dataset.loads)
        return cls(x, {name: dataset.target(name) for name in TARGETS})

    @classmethod
    def joined(cls, parts: Sequence["_Runs"]) -> "_Runs":
        targets = {name: np.concatenate([part.targets[name] for part in parts]) for name in TARGETS}
        return cls(np.concatenate([part.x for part in parts]), targets)


def train(dataset: Dataset, profile: Profile, progress: Progress = lambda: None) -> Artifact:
    """The artifact of a profile, with one tree for each target.

    Args:
        dataset: Runs of the twin.
        profile: What they were made with.
        progress: Called after each of `STEPS` pieces of work.

    Raises:
        DatasetError: the dataset is another profile's, or too small for its leaves.
    """
    _require(dataset, profile)
    return _artifact(
        profile.name, dataset.manifest.profile_hash, [dataset], _Runs.of(dataset, profile), progress
    )


def train_general(datasets: Sequence[tuple[Dataset, Profile]], progress: Progress = lambda: None) -> Artifact:
    """General trees, which correct the closed form of any profile, from the datasets of several.

    Raises:
        DatasetError: a dataset is another profile's, or too small for its leaves.
    """
    for dataset, profile in datasets:
        _require(dataset, profile)
    runs = _Runs.joined([_Runs.of(dataset, profile) for dataset, profile in datasets])
    return _artifact(GENERAL, None, [dataset for dataset, _ in datasets], runs, progress)


def ranges(features: Sequence[Feature], x: FloatArray) -> list[FeatureRange]:
    """What the rows of `x` cover."""
    return [
        FeatureRange(name=feature.name, lower=float(column.min()), upper=float(column.max()))
        for feature, column in zip(features, x.T, strict=True)
    ]


def _artifact(
    name: str, profile_hash: str | None, datasets: Sequence[Dataset], runs: _Runs, progress: Progress
) -> Artifact:
    return Artifact(
        profile=name,
        profile_hash=profile_hash,
        datasets=[_provenance(dataset) for dataset in datasets],
        bound_percent=BOUND_PERCENT,
        features=ranges(FEATURES, runs.x),
        targets={target: solve(_problem(target, runs), progress) for target in TARGETS},
    ).sealed()


def _provenance(dataset: Dataset) -> DatasetProvenance:
    manifest = dataset.manifest
    return DatasetProvenance(
        profile=manifest.profile,
        seed=manifest.seed,
        samples=len(dataset.samples),
        horizon_s=manifest.horizon_s,
        code_version=manifest.code_version,
    )


def _problem(name: TargetName, runs: _Runs) -> Problem:
    """The regression of one target, without the rows that have none."""
    target, served = runs.targets[name], runs.targets["served_fraction"]
    known = np.isfinite(target)
    is_fraction = name == "served_fraction"
    return Problem(
        features=FEATURES,
        x=runs.x[known],
        scale=SCALES[name],
        target=target[known],
        edge=at_edge(served)[known],
        monotone=is_fraction,
        logarithmic=name in LATENCIES,
        most=1.0 if is_fraction else np.inf,
        idle_below=IDLE_TIGHTNESS if is_fraction else None,
        from_above=name in LATENCIES,
        simple_scaled=not is_fraction,
        simple_weight=np.where(served[known] < EDGE[0], _FAR_BELOW_WEIGHT, 1.0) if is_fraction else None,
    )


def _require(dataset: Dataset, profile: Profile) -> None:
    if dataset.manifest.profile_hash != prediction_hash(profile):
        raise DatasetError(
            f"dataset: it was made with {dataset.manifest.profile}, not with this {profile.name}"
        )
    if len(dataset.samples) < FEWEST_SAMPLES:
        raise DatasetError(
            f"dataset: {len(dataset.samples)} runs are too few; {FEWEST_SAMPLES} are the least to train on"
        )
