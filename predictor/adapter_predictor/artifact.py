"""The artifact: a profile's trees as JSON, with where they come from and how good they are.

No code is in it, and reading it runs none; a digest tells when it was altered.
"""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapter_predictor.errors import ArtifactError
from adapter_predictor.features import FEATURES
from adapter_predictor.trees import Tree
from adapter_twin.profile import Profile

TargetName = Literal["served_fraction", "throughput_tokens_per_s", "itl_s", "ttft_s"]
TARGETS: tuple[TargetName, ...] = ("served_fraction", "throughput_tokens_per_s", "itl_s", "ttft_s")

_FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
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

    def tree(self) -> Tree:
        """The tree, checked to be one."""
        integers = {"feature", "left", "right", "samples"}
        arrays: dict[str, Any] = {
            name: np.array(values, dtype=np.int32 if name in integers else np.float64)
            for name, values in self.model_dump().items()
        }
        return Tree(**arrays).check(len(FEATURES))


class DepthScore(_Strict):
    """What a depth is worth, by cross-validation."""

    depth: int
    leaves: int
    mean_absolute_error: float


class TargetScores(_Strict):
    """How good a tree is, out of fold; errors in the target's unit.

    Attributes:
        by_depth: Depth against accuracy; the artifact's tree has the depth chosen from it.
        mean_absolute_error: Of the artifact's tree.
        smape_percent: Of the artifact's tree, 0 to 100.
        physics_smape_percent: Of the closed-form feature that the tree corrects.
        simple_mean_absolute_error: Of the tree for people.
        bound_coverage: Share of held-out samples on the good side of the pessimistic bound.
    """

    by_depth: list[DepthScore]
    mean_absolute_error: float
    smape_percent: float
    physics_smape_percent: float
    simple_mean_absolute_error: float
    bound_coverage: float


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
    simple: TreeNodes
    importances: dict[str, float]
    scores: TargetScores

    @model_validator(mode="after")
    def _scale_is_a_feature(self) -> Self:
        if self.scale is not None and self.scale not in _FEATURE_NAMES:
            raise ValueError(f"scale: {self.scale} is not a feature")
        return self


class DatasetProvenance(_Strict):
    """The runs of the twin that the trees were trained on."""

    seed: int
    samples: int
    horizon_s: float
    code_version: str


class FeatureRange(_Strict):
    """What the training samples covered."""

    name: str
    lower: float
    upper: float


class Artifact(_Strict):
    """The trees of one profile.

    Attributes:
        format: The schema's name and version.
        profile: Name of the profile.
        profile_hash: Its `prediction_hash`; another profile's predictions would be wrong.
        dataset: Where the training samples come from.
        bound_percent: Share of samples that the pessimistic bounds are meant to cover.
        features: Range of each feature, in the order of the vector.
        targets: The trees by target.
        sha256: Digest of everything else.
    """

    format: Literal["adaptwin.io/predictor/v1"] = "adaptwin.io/predictor/v1"
    profile: str
    profile_hash: str
    dataset: DatasetProvenance
    bound_percent: Annotated[float, Field(gt=50.0, lt=100.0)]
    features: list[FeatureRange]
    targets: dict[TargetName, TargetModel]
    sha256: str = ""

    @model_validator(mode="after")
    def _features_and_targets_are_ours(self) -> Self:
        if tuple(one.name for one in self.features) != _FEATURE_NAMES:
            raise ValueError(f"features: they must be {', '.join(_FEATURE_NAMES)}, in this order")
        if missing := [name for name in TARGETS if name not in self.targets]:
            raise ValueError(f"targets: {missing[0]} is missing")
        return self

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


def prediction_hash(profile: Profile) -> str:
    """SHA-256 of what decides a profile's trees.

    The trees are given the KV cache as a feature, so they hold for any setting of the two engine arguments
    that act through it alone.
    """
    through_memory = {"max_model_len", "gpu_memory_utilization"}
    excluded: Any = {"name", "fit", "startup", "validity", "origin", "safety_margin_percent"}
    content = profile.model_dump(mode="json", exclude=excluded)
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


def shipped_artifact(profile: str) -> Artifact | None:
    """The artifact that comes with the package for a profile of this name, if there is one."""
    file = _SHIPPED / f"{profile}.json"
    if not file.is_file():
        return None
    return parse_artifact(file.read_text(encoding="utf-8"), file.name)
