"""The artifact: a profile's trees as JSON, with where they come from and how good they are.

No code is in it, and reading it runs none; a digest tells when it was altered.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapter_predictor.errors import ArtifactError
from adapter_predictor.features import FEATURES
from adapter_predictor.mix_features import MIX_FEATURES
from adapter_predictor.trees import Tree
from adapter_twin.profile import Profile

TargetName = Literal["served_fraction", "throughput_tokens_per_s", "itl_s", "ttft_s"]
TARGETS: tuple[TargetName, ...] = ("served_fraction", "throughput_tokens_per_s", "itl_s", "ttft_s")

LATENCIES: Final = frozenset({"itl_s", "ttft_s"})
"""Targets of which less is better: their pessimistic bound lies above."""

MixTargetName = Literal["most_adapters", "best_slots", "best_throughput_tokens_per_s"]
MIX_TARGETS: tuple[MixTargetName, ...] = ("most_adapters", "best_slots", "best_throughput_tokens_per_s")

GENERAL: Final = "general"
"""The name of the trees that are no profile's own."""

FOLDER_VARIABLE: Final = "ADAPTWIN_ARTIFACTS"
"""The environment variable that names a folder of one's own artifacts."""

_FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
_MIX_FEATURE_NAMES = tuple(feature.name for feature in MIX_FEATURES)
_SHIPPED = resources.files("adapter_predictor") / "artifacts"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TreeNodes(_Strict):
    """A tree as lists over its nodes; `adapter_predictor.trees.Tree` says what they mean."""

    feature: list[int]
    threshold: list[float]
    left: list[int]
    right: list[int]
    value: list[float]
    low: list[float]
    high: list[float]
    samples: list[int]

    @model_validator(mode="after")
    def _lists_are_as_long(self) -> Self:
        if len({len(values) for values in self.model_dump().values()}) != 1:
            raise ValueError("the lists over the nodes differ in length")
        return self

    @classmethod
    def of(cls, tree: Tree) -> Self:
        """The nodes of a tree."""
        return cls(**{name: getattr(tree, name).tolist() for name in cls.model_fields})

    def tree(self, features: int = len(FEATURES)) -> Tree:
        """The tree, checked to be one over so many features."""
        integers = {"feature", "left", "right", "samples"}
        arrays: dict[str, Any] = {
            name: np.array(values, dtype=np.int32 if name in integers else np.float64)
            for name, values in self.model_dump().items()
        }
        return Tree(**arrays).check(features)


class DepthScore(_Strict):
    """What a depth is worth, by cross-validation."""

    depth: int
    leaves: int
    mean_absolute_error: float


class Coverage(_Strict):
    """How many held-out samples lie on the good side of a bound that was made without them.

    Attributes:
        nominal_percent: How many should.
        percent: How many do.
        edge_percent: How many do of those at the edge of starvation; None where there are none.
    """

    nominal_percent: float
    percent: float
    edge_percent: float | None


class TargetScores(_Strict):
    """How good a tree is, out of fold; errors in the target's unit.

    Attributes:
        by_depth: Depth against accuracy; the artifact's tree has the depth chosen from it.
        mean_absolute_error: Of the artifact's tree.
        edge_mean_absolute_error: Of the samples at the edge of starvation; None where there are none.
        smape_percent: Of the artifact's tree, 0 to 100.
        physics_smape_percent: Of the closed-form feature that the tree corrects.
        simple_mean_absolute_error: Of the tree for people.
        simple_smape_percent: Of the tree for people.
        coverage: Nominal against empirical coverage of the pessimistic bound.
    """

    by_depth: list[DepthScore]
    mean_absolute_error: float
    edge_mean_absolute_error: float | None
    smape_percent: float
    physics_smape_percent: float
    simple_mean_absolute_error: float
    simple_smape_percent: float
    coverage: list[Coverage]


class SimpleTree(_Strict):
    """A small tree that a person reads.

    Attributes:
        scale: The feature that its value multiplies; None where the value is the prediction.
        tree: The tree.
    """

    scale: str | None
    tree: TreeNodes


class TargetModel(_Strict):
    """One target: a tree whose value is multiplied with a feature.

    Attributes:
        scale: The feature that the tree's value multiplies; None where the value is the prediction.
        tree: The tree that predicts.
        simple: A smaller one to read.
        importances: For each feature the share of the error that its questions remove.
        scores: How good they are.
    """

    scale: str | None
    tree: TreeNodes
    simple: SimpleTree
    importances: dict[str, float]
    scores: TargetScores

    def require_scales(self, features: tuple[str, ...]) -> None:
        """Refuse what multiplies anything but one of these features."""
        for scale in (self.scale, self.simple.scale):
            if scale is not None and scale not in features:
                raise ValueError(f"scale: {scale} is not a feature")


class DatasetProvenance(_Strict):
    """The runs of the twin that the trees were trained on.

    Attributes:
        profile: Name of the profile that they were made with.
        seed: Of loads and arrivals.
        samples: Runs.
        horizon_s: Simulated seconds of each.
        code_version: Version of the twin.
    """

    profile: str
    seed: int
    samples: int
    horizon_s: float
    code_version: str


class FeatureRange(_Strict):
    """What the training samples covered."""

    name: str
    lower: float
    upper: float


class MixTrees(_Strict):
    """Trees about mixes of adapters: how many of them one replica serves, with which slots, how fast.

    Attributes:
        mixes: Mixes that they were trained on.
        seed: Of those mixes.
        features: Range of each feature, in the order of the vector.
        targets: The trees by target.
    """

    mixes: int
    seed: int
    features: list[FeatureRange]
    targets: dict[MixTargetName, TargetModel]

    @model_validator(mode="after")
    def _features_and_targets_are_ours(self) -> Self:
        _require_ours(self.features, self.targets, _MIX_FEATURE_NAMES, MIX_TARGETS)
        return self


class Artifact(_Strict):
    """The trees of one profile, or general ones that correct the closed form of any.

    Attributes:
        format: The schema's name and version.
        profile: Name of the profile; `GENERAL` where the trees are nobody's own.
        profile_hash: Its `prediction_hash`; another profile's predictions would be wrong. None where general.
        datasets: Where the training samples come from.
        bound_percent: Share of samples that the pessimistic bounds are meant to cover.
        features: Range of each feature, in the order of the vector.
        targets: The trees by target.
        mix: The trees about mixes.
        sha256: Digest of everything else.
    """

    format: Literal["adaptwin.io/predictor/v2"] = "adaptwin.io/predictor/v2"
    profile: str
    profile_hash: str | None
    datasets: Annotated[list[DatasetProvenance], Field(min_length=1)]
    bound_percent: Annotated[float, Field(gt=50.0, lt=100.0)]
    features: list[FeatureRange]
    targets: dict[TargetName, TargetModel]
    mix: MixTrees | None = None
    sha256: str = ""

    @model_validator(mode="after")
    def _features_and_targets_are_ours(self) -> Self:
        _require_ours(self.features, self.targets, _FEATURE_NAMES, TARGETS)
        return self

    @property
    def samples(self) -> int:
        """Runs of the twin that it was trained on."""
        return sum(dataset.samples for dataset in self.datasets)

    def digest(self) -> str:
        """SHA-256 of everything but the digest."""
        content = json.dumps(self.model_dump(mode="json", exclude={"sha256"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def sealed(self) -> Self:
        """This artifact with its digest."""
        return self.model_copy(update={"sha256": self.digest()})

    def to_json(self) -> str:
        """The text to store."""
        return json.dumps(self.sealed().model_dump(mode="json"), separators=(",", ":")) + "\n"


def _require_ours(
    features: Sequence[FeatureRange],
    targets: Mapping[Any, TargetModel],
    names: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    """Refuse features and targets that are not those of this version."""
    if tuple(one.name for one in features) != names:
        raise ValueError(f"features: they must be {', '.join(names)}, in this order")
    for target in wanted:
        if target not in targets:
            raise ValueError(f"targets: {target} is missing")
        targets[target].require_scales(names)


def prediction_hash(profile: Profile) -> str:
    """SHA-256 of what decides a profile's trees.

    The trees are given the KV cache as a feature, so they hold for any setting of the two engine arguments
    that act through it alone. What a profile leaves at its default counts as not said: a version that adds
    such a field keeps the hashes.
    """
    through_memory = {"max_model_len", "gpu_memory_utilization"}
    excluded: Any = {"name", "fit", "startup", "validity", "origin", "safety_margin_percent"}
    content = profile.model_dump(mode="json", exclude=excluded, exclude_defaults=True)
    content["engine"] = {k: v for k, v in content["engine"].items() if k not in through_memory}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_artifact(text: str, source: str) -> Artifact:
    """The artifact in a text, or an `ArtifactError` that names `source`."""
    try:
        artifact = Artifact.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactError(f"artifact: {source}: {where}: {first['msg']}") from error
    if artifact.digest() != artifact.sha256:
        raise ArtifactError(f"artifact: {source}: sha256 does not match the content; it was altered")
    return artifact


def read_artifact(path: Path) -> Artifact:
    """The artifact in a file."""
    try:
        return parse_artifact(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"artifact: cannot read {path}: {error}") from error


def find_artifact(profile: str) -> Artifact | None:
    """The artifact for a profile of this name: one's own, or else the one that comes with the package.

    One's own lie in the folder that `ADAPTWIN_ARTIFACTS` names, as PROFILE.json.
    """
    own = os.environ.get(FOLDER_VARIABLE)
    if own and (path := Path(own) / f"{profile}.json").is_file():
        return read_artifact(path)
    file = _SHIPPED / f"{profile}.json"
    if not file.is_file():
        return None
    return parse_artifact(file.read_text(encoding="utf-8"), file.name)
