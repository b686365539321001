"""Fitting trees: depth by cross-validation, bounds from what held-out samples miss by."""

from dataclasses import dataclass, replace
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

LATENCIES: Final = frozenset({"itl_s", "ttft_s"})
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
    "throughput_tokens_per_s": "steady_throughput",
    "itl_s": "steady_itl",
    "ttft_s": "steady_ttft",
}
"""The feature that a target's tree multiplies: leaves then correct physics instead of repeating it."""


@dataclass(frozen=True)
class _Problem:
    """One regression: features, and the target over its scale; rows without a target are left out.

    Latencies range over orders of magnitude, so that their trees average logarithms of the ratio. No
    prediction exceeds `most`.
    """

    x: FloatArray
    scale: FloatArray
    target: FloatArray
    monotone: NDArray[np.int8]
    logarithmic: bool = False
    most: float = np.inf

    @property
    def label(self) -> FloatArray:
        """What the regression sees."""
        ratio = self.target / self.scale
        return np.log(ratio) if self.logarithmic else ratio

    def part(self, rows: NDArray[np.intp]) -> "_Problem":
        """The same with some of the rows."""
        return replace(self, x=self.x[rows], scale=self.scale[rows], target=self.target[rows])

    def prediction(self, label: FloatArray) -> FloatArray:
        """The target that labels stand for, shape (n)."""
        return np.minimum(self.scale * self.factors(label), self.most)

    def factors(self, labels: FloatArray) -> FloatArray:
        """What labels multiply the scale with."""
        return np.exp(labels) if self.logarithmic else labels


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
    problem = _Problem(
        _visible(name, x[known]),
        scale,
        target[known],
        _monotone(name),
        logarithmic=name in LATENCIES,
        most=1.0 if name == "served_fraction" else np.inf,
    )
    table = [_depth_score(problem, depth) for depth in DEPTHS]
    least = min(score.mean_absolute_error for score in table)
    depth = next(s.depth for s in table if s.mean_absolute_error <= _GOOD_ENOUGH * least)
    held_out = _out_of_fold(problem, max_depth=depth)
    model = _model(problem, max_depth=depth).fit(problem.x, problem.label)
    simple = _model(problem, max_leaf_nodes=SIMPLE_LEAVES).fit(problem.x, problem.label)
    return TargetModel(
        scale=scale_name,
        tree=TreeNodes.of(_as_factors(_with_bounds(from_sklearn(model), problem, held_out), problem)),
        simple=TreeNodes.of(_as_factors(from_sklearn(simple), problem)),
        importances=_importances(model),
        scores=TargetScores(
            by_depth=table,
            mean_absolute_error=_error(problem, held_out),
            smape_percent=float(smape(problem.prediction(held_out), problem.target)),
            physics_smape_percent=float(smape(problem.scale, problem.target)),
            simple_mean_absolute_error=_error(problem, _out_of_fold(problem, max_leaf_nodes=SIMPLE_LEAVES)),
            bound_coverage=_coverage(problem, depth, from_above=name in LATENCIES),
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
    """Each sample's label as predicted by a tree that has not seen it, shape (n)."""
    predicted = np.empty(len(problem.x))
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(problem.x):
        model = _model(problem, **size).fit(problem.x[seen], problem.label[seen])
        predicted[unseen] = model.predict(problem.x[unseen])
    return predicted


def _error(problem: _Problem, label: FloatArray) -> float:
    """Mean absolute error in the target's unit."""
    return float(np.mean(np.abs(problem.prediction(label) - problem.target)))


def _depth_score(problem: _Problem, depth: int) -> DepthScore:
    leaves = _model(problem, max_depth=depth).fit(problem.x, problem.label).get_n_leaves()
    held_out = _out_of_fold(problem, max_depth=depth)
    return DepthScore(depth=depth, leaves=int(leaves), mean_absolute_error=_error(problem, held_out))


def _with_bounds(tree: Tree, problem: _Problem, held_out: FloatArray) -> Tree:
    """The tree with each leaf's bounds: its value moved by quantiles of its samples' held-out residuals."""
    low, high = tree.value.copy(), tree.value.copy()
    leaves, residuals = tree.leaves(problem.x), problem.label - held_out
    for leaf in np.unique(leaves):
        missed = residuals[leaves == leaf]
        low[leaf] += min(0.0, float(np.percentile(missed, 100.0 - BOUND_PERCENT)))
        high[leaf] += max(0.0, float(np.percentile(missed, BOUND_PERCENT)))
    return replace(tree, low=low, high=high)


def _coverage(problem: _Problem, depth: int, *, from_above: bool) -> float:
    """Share of samples on the good side of bounds made without them."""
    good = np.empty(len(problem.x), dtype=np.bool_)
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=1).split(problem.x):
        part = problem.part(seen)
        fitted = from_sklearn(_model(part, max_depth=depth).fit(part.x, part.label))
        bounded = _with_bounds(fitted, part, _out_of_fold(part, max_depth=depth))
        leaves, label = bounded.leaves(problem.x[unseen]), problem.label[unseen]
        good[unseen] = label <= bounded.high[leaves] if from_above else label >= bounded.low[leaves]
    return float(good.mean())


def _as_factors(tree: Tree, problem: _Problem) -> Tree:
    """The tree with what its labels multiply the scale with."""
    value, low, high = (problem.factors(labels) for labels in (tree.value, tree.low, tree.high))
    return replace(tree, value=value, low=low, high=high)


def _importances(model: DecisionTreeRegressor) -> dict[str, float]:
    weighed = zip(FEATURES, model.feature_importances_, strict=True)
    return {feature.name: round(float(weight), 4) for feature, weight in weighed if weight > 0.0}
