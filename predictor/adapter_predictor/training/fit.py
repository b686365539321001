"""Fitting trees: depth by cross-validation, bounds from what held-out samples miss by."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from adapter_predictor.artifact import (
    TARGETS,
    Artifact,
    DatasetProvenance,
    DepthScore,
    FeatureRange,
    TargetModel,
    TargetName,
    TargetScores,
    TreeNodes,
    prediction_hash,
)
from adapter_predictor.errors import DatasetError
from adapter_predictor.features import FEATURE_INDEX, FEATURES, FeatureFunction
from adapter_predictor.training.dataset import Dataset
from adapter_predictor.trees import LEAF, Tree
from adapter_twin.measurements.measures import smape
from adapter_twin.profile import Profile

FloatArray = NDArray[np.float64]

LEAF_SAMPLES: Final = 20
FOLDS: Final = 5
DEPTHS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12)
SIMPLE_LEAVES: Final = 8
BOUND_PERCENT: Final = 90.0
FEWEST_SAMPLES: Final = 10 * LEAF_SAMPLES

_GOOD_ENOUGH: Final = 1.01
"""The shallowest depth is taken whose error is within this factor of the least."""

SCALES: Final[dict[TargetName, str]] = {
    "served_fraction": "steady_served",
    "throughput_tokens_per_s": "offered_tokens",
    "itl_s": "steady_itl",
    "ttft_s": "steady_ttft",
}
"""The feature that a target's tree multiplies: leaves then correct physics instead of repeating it."""


@dataclass(frozen=True)
class _Problem:
    """One regression: features, and the target over its scale; rows without a target are left out."""

    x: FloatArray
    scale: FloatArray
    target: FloatArray
    monotone: NDArray[np.int8]

    @property
    def ratio(self) -> FloatArray:
        return self.target / self.scale


def train(dataset: Dataset, profile: Profile) -> Artifact:
    """The artifact with one tree for each target.

    Raises:
        DatasetError: the dataset is another profile's, or too small for its leaves.
    """
    if dataset.manifest.profile_hash != prediction_hash(profile):
        raise DatasetError(
            f"dataset: it was made with {dataset.manifest.profile}, not with this {profile.name}"
        )
    if len(dataset.samples) < FEWEST_SAMPLES:
        raise DatasetError(
            f"dataset: {len(dataset.samples)} runs are too few; {FEWEST_SAMPLES} are the least to train on"
        )
    x = FeatureFunction(profile).matrix(dataset.loads)
    manifest = dataset.manifest
    return Artifact(
        profile=profile.name,
        profile_hash=manifest.profile_hash,
        dataset=DatasetProvenance(
            seed=manifest.seed,
            samples=len(dataset.samples),
            horizon_s=manifest.horizon_s,
            code_version=manifest.code_version,
        ),
        bound_percent=BOUND_PERCENT,
        features=[
            FeatureRange(name=feature.name, lower=float(column.min()), upper=float(column.max()))
            for feature, column in zip(FEATURES, x.T, strict=True)
        ],
        targets={name: _fitted(name, x, dataset.target(name)) for name in TARGETS},
    ).sealed()


def from_sklearn(fitted: DecisionTreeRegressor) -> Tree:
    """A fitted tree as ours, without bounds: they are its values."""
    nodes = fitted.tree_
    inner = nodes.children_left != LEAF
    value = nodes.value[:, 0, 0].astype(np.float64)
    return Tree(
        feature=np.where(inner, nodes.feature, LEAF).astype(np.int32),
        threshold=np.where(inner, nodes.threshold, 0.0),
        left=nodes.children_left.astype(np.int32),
        right=nodes.children_right.astype(np.int32),
        value=value,
        low=value,
        high=value,
        samples=nodes.n_node_samples.astype(np.int32),
    ).check(len(FEATURES))


def _fitted(name: TargetName, x: FloatArray, target: FloatArray) -> TargetModel:
    scale_name = SCALES[name]
    known = np.isfinite(target)
    scale = x[known, FEATURE_INDEX[scale_name]]
    problem = _Problem(_visible(name, x[known]), scale, target[known], _monotone(name))
    table = [_depth_score(problem, depth) for depth in DEPTHS]
    least = min(score.mean_absolute_error for score in table)
    depth = next(s.depth for s in table if s.mean_absolute_error <= _GOOD_ENOUGH * least)
    held_out = _out_of_fold(problem, max_depth=depth)
    model = _model(problem, max_depth=depth).fit(problem.x, problem.ratio)
    tree = _with_bounds(from_sklearn(model), problem, held_out)
    simple = _model(problem, max_leaf_nodes=SIMPLE_LEAVES).fit(problem.x, problem.ratio)
    return TargetModel(
        scale=scale_name,
        tree=TreeNodes.of(tree),
        simple=TreeNodes.of(from_sklearn(simple)),
        importances=_importances(model),
        scores=TargetScores(
            by_depth=table,
            mean_absolute_error=_error(problem, held_out),
            smape_percent=smape(held_out * problem.scale, problem.target),
            physics_smape_percent=_physics_smape(name, problem),
            simple_mean_absolute_error=_error(problem, _out_of_fold(problem, max_leaf_nodes=SIMPLE_LEAVES)),
            bound_coverage=_coverage(name, problem, depth),
        ),
    )


def _monotone(name: TargetName) -> NDArray[np.int8]:
    """Only the served fraction is monotone: it does not rise with rates or token means, all else equal."""
    if name != "served_fraction":
        return np.zeros(len(FEATURES), dtype=np.int8)
    signs = {"rises": -1, "falls": 1, "apart": 0, "mixed": 0}
    return np.array([signs[feature.demand] for feature in FEATURES], dtype=np.int8)


def _visible(name: TargetName, x: FloatArray) -> FloatArray:
    """The features that a target's tree may ask about: a monotone one none that demand moves either way."""
    if name != "served_fraction":
        return x
    mixed = np.array([feature.demand == "mixed" for feature in FEATURES])
    return np.where(mixed, 0.0, x)


def _model(problem: _Problem, **size: int) -> DecisionTreeRegressor:
    return DecisionTreeRegressor(
        min_samples_leaf=LEAF_SAMPLES, monotonic_cst=problem.monotone, random_state=0, **size
    )


def _out_of_fold(problem: _Problem, **size: int) -> FloatArray:
    """Each sample's ratio as predicted by a tree that has not seen it, shape (n)."""
    predicted = np.empty(len(problem.x))
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(problem.x):
        model = _model(problem, **size).fit(problem.x[seen], problem.ratio[seen])
        predicted[unseen] = model.predict(problem.x[unseen])
    return predicted


def _error(problem: _Problem, ratio: FloatArray) -> float:
    """Mean absolute error in the target's unit."""
    return float(np.mean(np.abs(ratio * problem.scale - problem.target)))


def _depth_score(problem: _Problem, depth: int) -> DepthScore:
    leaves = _model(problem, max_depth=depth).fit(problem.x, problem.ratio).get_n_leaves()
    held_out = _out_of_fold(problem, max_depth=depth)
    return DepthScore(depth=depth, leaves=int(leaves), mean_absolute_error=_error(problem, held_out))


def _with_bounds(tree: Tree, problem: _Problem, held_out: FloatArray) -> Tree:
    """The tree with each leaf's bounds: its value moved by quantiles of its samples' held-out residuals."""
    low, high = tree.value.copy(), tree.value.copy()
    leaves, residuals = tree.leaves(problem.x), problem.ratio - held_out
    for leaf in np.unique(leaves):
        missed = residuals[leaves == leaf]
        low[leaf] += min(0.0, float(np.percentile(missed, 100.0 - BOUND_PERCENT)))
        high[leaf] += max(0.0, float(np.percentile(missed, BOUND_PERCENT)))
    return Tree(tree.feature, tree.threshold, tree.left, tree.right, tree.value, low, high, tree.samples)


def _coverage(name: TargetName, problem: _Problem, depth: int) -> float:
    """Share of samples on the good side of bounds made without them."""
    good = np.empty(len(problem.x), dtype=np.bool_)
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=1).split(problem.x):
        part = _Problem(problem.x[seen], problem.scale[seen], problem.target[seen], problem.monotone)
        fitted = from_sklearn(_model(part, max_depth=depth).fit(part.x, part.ratio))
        bounded = _with_bounds(fitted, part, _out_of_fold(part, max_depth=depth))
        leaves, ratio = bounded.leaves(problem.x[unseen]), problem.ratio[unseen]
        latency = name in {"itl_s", "ttft_s"}
        good[unseen] = ratio <= bounded.high[leaves] if latency else ratio >= bounded.low[leaves]
    return float(good.mean())


def _physics_smape(name: TargetName, problem: _Problem) -> float | None:
    """What the closed form alone misses by; the throughput's is the steady state's served part."""
    estimate = problem.scale
    if name == "throughput_tokens_per_s":
        estimate = estimate * problem.x[:, FEATURE_INDEX["steady_served"]]
    return float(smape(estimate, problem.target))


def _importances(model: DecisionTreeRegressor) -> dict[str, float]:
    weighed = zip(FEATURES, model.feature_importances_, strict=True)
    return {feature.name: round(float(weight), 4) for feature, weight in weighed if weight > 0.0}
