"""One regression tree: depth by cross-validation, bounds from what held-out samples miss by."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from adapter_predictor.artifact import (
    Coverage,
    DepthScore,
    SimpleTree,
    TargetModel,
    TargetScores,
    TreeNodes,
)
from adapter_predictor.features import Feature
from adapter_predictor.trees import LEAF, Tree
from adapter_twin.measurements.measures import smape

FloatArray = NDArray[np.float64]
Rows = NDArray[np.bool_]
Progress = Callable[[], None]
"""Called after each piece of work."""

LEAF_SAMPLES: Final = 20
IDLE_LABEL: Final = 1.0
"""Where nothing is scarce the steady state is right."""
FOLDS: Final = 5
DEPTHS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14)
BOUND_PERCENT: Final = 90.0
COVERAGES_PERCENT: Final = (50.0, 80.0, 90.0, 95.0)
"""Nominal coverages that are held against empirical ones."""

SIMPLE_LEAVES: Final = 10

STEPS: Final = len(DEPTHS) + 2
"""Pieces of work of one regression."""

_GOOD_ENOUGH: Final = 1.01
"""The shallowest depth is taken whose error is within this factor of the least."""


@dataclass(frozen=True)
class Problem:
    """One regression: features, and the target over its scale.

    Attributes:
        features: What the columns of `x` are.
        x: Shape (n, len(features)).
        scale: The feature that the tree's value multiplies, so that leaves correct physics.
        target: Shape (n).
        edge: Which rows are at the edge of starvation, shape (n).
        monotone: Whether the target falls with demand, all else equal; features that demand moves either way
            are then not asked about.
        bounded: Whether a monotone tree is kept from ever saying otherwise.
        logarithmic: Whether leaves average logarithms, for targets that range over orders of magnitude.
        medians: Whether leaves take medians, for targets that are often exactly right already.
        most: What no prediction exceeds.
        idle_below: The tightness up to which nothing is scarce: such rows have a leaf of their own, at the top of
            the tree, whose label is 1, the steady state's own answer. None for no such leaf.
        from_above: Whether the pessimistic bound lies above.
        simple_scaled: Whether the tree for people corrects the steady state too, or stands on its own.
        simple_weight: How much rows count where that tree is grown, shape (n); all alike where None.
    """

    features: Sequence[Feature]
    x: FloatArray
    scale: str | None
    target: FloatArray
    edge: Rows
    monotone: bool = False
    bounded: bool = True
    logarithmic: bool = False
    medians: bool = False
    most: float = np.inf
    idle_below: float | None = None
    from_above: bool = False
    simple_scaled: bool = True
    simple_weight: FloatArray | None = None

    @property
    def factor(self) -> FloatArray:
        """What the tree's value multiplies, shape (n)."""
        if self.scale is None:
            return np.ones(len(self.x))
        names = [feature.name for feature in self.features]
        return self.x[:, names.index(self.scale)]

    @property
    def label(self) -> FloatArray:
        """What the regression sees."""
        ratio: FloatArray = self.target / self.factor
        return np.log(ratio) if self.logarithmic else ratio

    @property
    def visible(self) -> FloatArray:
        """The features that the tree may ask about.

        A monotone one asks nothing that demand moves either way, and one without a scale nothing that the
        steady state answers: it is made of what a person can reckon.
        """
        mixed = [self.monotone and feature.demand == "mixed" for feature in self.features]
        answers = [self.scale is None and feature.name.startswith("steady") for feature in self.features]
        return np.where(np.logical_or(mixed, answers), 0.0, self.x)

    @property
    def idle(self) -> Rows:
        """The rows in which nothing is scarce, shape (n)."""
        if self.idle_below is None:
            return np.zeros(len(self.x), dtype=np.bool_)
        tightness = self.x[:, self._tightness].astype(np.float32)
        return tightness.astype(np.float64) <= self.idle_below

    @property
    def _tightness(self) -> int:
        return [feature.name for feature in self.features].index("tightness")

    def part(self, rows: NDArray[np.intp]) -> "Problem":
        """The same with some of the rows."""
        return replace(self, x=self.x[rows], target=self.target[rows], edge=self.edge[rows])

    def prediction(self, label: FloatArray) -> FloatArray:
        """The target that labels stand for, shape (n)."""
        return np.minimum(self.factor * self.values(label), self.most)

    def values(self, label: FloatArray) -> FloatArray:
        """What labels multiply the scale with."""
        return np.exp(label) if self.logarithmic else label

    def model(self, **size: int) -> DecisionTreeRegressor:
        """A tree of a size, not yet fitted."""
        return DecisionTreeRegressor(
            criterion="absolute_error" if self.medians else "squared_error",
            min_samples_leaf=LEAF_SAMPLES,
            monotonic_cst=self._signs(),
            random_state=0,
            **size,
        )

    def fitted(self, weight: FloatArray | None = None, **size: int) -> DecisionTreeRegressor:
        """A tree of a size, fitted to all rows in which something is scarce."""
        rows = ~self.idle
        kept = None if weight is None else weight[rows]
        return self.model(**size).fit(self.visible[rows], self.label[rows], sample_weight=kept)

    def grown(self, fitted: DecisionTreeRegressor) -> Tree:
        """The whole tree: the fitted one, below the leaf of the rows in which nothing is scarce."""
        tree, idle = from_sklearn(fitted), int(self.idle.sum())
        if self.idle_below is None:
            return tree
        return _below(tree, self._tightness, self.idle_below, IDLE_LABEL, idle).check(len(self.features))

    def out_of_fold(self, weight: FloatArray | None = None, **size: int) -> FloatArray:
        """Each row's label as predicted by a tree that has not seen it, shape (n)."""
        visible, predicted = self.visible, np.empty(len(self.x))
        for seen, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(visible):
            weighed = None if weight is None else weight[seen]
            predicted[unseen] = self.part(seen).fitted(weighed, **size).predict(visible[unseen])
        predicted[self.idle] = IDLE_LABEL
        return predicted

    def error(self, said: FloatArray, rows: Rows | None = None) -> float:
        """Mean absolute error in the target's unit, of some rows or of all."""
        missed = np.abs(said - self.target)
        return float((missed if rows is None else missed[rows]).mean())

    def _signs(self) -> NDArray[np.int8]:
        signs = {"rises": -1, "falls": 1, "apart": 0, "mixed": 0}
        kept = self.monotone and self.bounded
        return np.array([signs[f.demand] if kept else 0 for f in self.features], dtype=np.int8)


def solve(problem: Problem, progress: Progress) -> TargetModel:
    """The tree of a regression, the small one for people, and how good both are."""
    table = []
    for depth in DEPTHS:
        table.append(_depth_score(problem, depth))
        progress()
    least = min(score.mean_absolute_error for score in table)
    depth = next(s.depth for s in table if s.mean_absolute_error <= _GOOD_ENOUGH * least)
    held_out = problem.out_of_fold(max_depth=depth)
    model = problem.fitted(max_depth=depth)
    bounded = _Residuals.of(problem.grown(model), problem, held_out).bounded(BOUND_PERCENT)
    said = problem.prediction(held_out)
    simple, simple_said = _simple(problem)
    progress()
    coverage = _coverage(problem, depth)
    progress()
    edge = problem.edge
    return TargetModel(
        scale=problem.scale,
        tree=TreeNodes.of(_of_values(bounded, problem)),
        simple=simple,
        importances=_importances(problem, model),
        scores=TargetScores(
            by_depth=table,
            mean_absolute_error=problem.error(said),
            edge_mean_absolute_error=problem.error(said, edge) if edge.any() else None,
            smape_percent=float(smape(said, problem.target)),
            physics_smape_percent=float(smape(problem.factor, problem.target)),
            simple_mean_absolute_error=problem.error(simple_said),
            simple_smape_percent=float(smape(simple_said, problem.target)),
            coverage=coverage,
        ),
    )


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
    ).check(nodes.n_features)


def _below(tree: Tree, feature: int, threshold: float, label: float, samples: int) -> Tree:
    """A tree under a new root: up to the threshold a single leaf, beyond it the tree as it was."""
    leaf = {"feature": LEAF, "threshold": 0.0, "left": -1, "right": -1, "value": label, "samples": samples}
    root = leaf | {
        "feature": feature,
        "threshold": threshold,
        "left": 1,
        "right": 2,
        "samples": samples + int(tree.samples[0]),
    }
    root |= {"low": label, "high": label}
    leaf |= {"low": label, "high": label}
    moved = {name: getattr(tree, name) for name in root}
    for child in ("left", "right"):
        moved[child] = np.where(moved[child] >= 0, moved[child] + 2, moved[child])
    return Tree(
        **{
            name: np.concatenate([[root[name], leaf[name]], below]).astype(below.dtype)
            for name, below in moved.items()
        }
    )


def _depth_score(problem: Problem, depth: int) -> DepthScore:
    said = problem.prediction(problem.out_of_fold(max_depth=depth))
    leaves = int(problem.fitted(max_depth=depth).get_n_leaves())
    return DepthScore(depth=depth, leaves=leaves, mean_absolute_error=problem.error(said))


def _simple(problem: Problem) -> tuple[SimpleTree, FloatArray]:
    """The tree for people, and what it says of rows that it has not seen."""
    asked = replace(problem, idle_below=None)
    if not problem.simple_scaled:
        asked = replace(asked, scale=None, bounded=False, medians=False)
    weight = problem.simple_weight
    tree = _of_values(from_sklearn(asked.fitted(weight, max_leaf_nodes=SIMPLE_LEAVES)), asked)
    said = asked.prediction(asked.out_of_fold(weight, max_leaf_nodes=SIMPLE_LEAVES))
    return SimpleTree(scale=asked.scale, tree=TreeNodes.of(tree)), said


@dataclass(frozen=True)
class _Residuals:
    """What trees that had not seen the samples of a leaf missed them by, for each leaf of a tree."""

    tree: Tree
    by_leaf: Mapping[int, FloatArray]

    @classmethod
    def of(cls, tree: Tree, problem: Problem, held_out: FloatArray) -> "_Residuals":
        leaves, missed = tree.leaves(problem.x), problem.label - held_out
        return cls(tree, {int(leaf): np.sort(missed[leaves == leaf]) for leaf in np.unique(leaves)})

    def bounded(self, percent: float) -> Tree:
        """The tree with bounds that `percent` of new samples keep, whatever their distribution.

        The n residuals of a leaf and a new one are equally likely to be in any order, so the new one is among
        the k lowest with probability k / (n + 1).
        """
        low, high = self.tree.value.copy(), self.tree.value.copy()
        for leaf, missed in self.by_leaf.items():
            kept = min(math.ceil((missed.size + 1) * percent / 100.0), missed.size)
            low[leaf] += min(0.0, float(missed[missed.size - kept]))
            high[leaf] += max(0.0, float(missed[kept - 1]))
        return replace(self.tree, low=low, high=high)


def _coverage(problem: Problem, depth: int) -> list[Coverage]:
    """How many rows lie on the good side of bounds made without them, for each nominal coverage."""
    good = np.empty((len(COVERAGES_PERCENT), len(problem.x)), dtype=np.bool_)
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=1).split(problem.x):
        part, label = problem.part(seen), problem.label[unseen]
        tree = part.grown(part.fitted(max_depth=depth))
        residuals = _Residuals.of(tree, part, part.out_of_fold(max_depth=depth))
        leaves = tree.leaves(problem.x[unseen])
        for row, percent in enumerate(COVERAGES_PERCENT):
            bounded = residuals.bounded(percent)
            above = label <= bounded.high[leaves]
            good[row, unseen] = above if problem.from_above else label >= bounded.low[leaves]
    return [
        Coverage(
            nominal_percent=percent,
            percent=100.0 * float(kept.mean()),
            edge_percent=100.0 * float(kept[problem.edge].mean()) if problem.edge.any() else None,
        )
        for percent, kept in zip(COVERAGES_PERCENT, good, strict=True)
    ]


def _of_values(tree: Tree, problem: Problem) -> Tree:
    """The tree with what its labels multiply the scale with."""
    value, low, high = (problem.values(labels) for labels in (tree.value, tree.low, tree.high))
    return replace(tree, value=value, low=low, high=high)


def _importances(problem: Problem, model: DecisionTreeRegressor) -> dict[str, float]:
    weighed = zip(problem.features, model.feature_importances_, strict=True)
    return {feature.name: round(float(weight), 4) for feature, weight in weighed if weight > 0.0}
