"""Regression trees as flat arrays: read from an artifact, evaluated without scikit-learn.

Equal to scikit-learn to the last bit: features are cast to float32 and compared with float64 thresholds.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from adapter_predictor.errors import ArtifactError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]

LEAF = -1
"""The feature of a node that asks nothing."""


@njit(nogil=True, cache=True)
def _leaf(feature: IntArray, threshold: FloatArray, left: IntArray, right: IntArray, x: FloatArray) -> int:
    node = 0
    while feature[node] >= 0:
        goes_left = np.float64(np.float32(x[feature[node]])) <= threshold[node]
        node = left[node] if goes_left else right[node]
    return node


@njit(nogil=True, cache=True)
def _leaves(
    feature: IntArray, threshold: FloatArray, left: IntArray, right: IntArray, x: FloatArray
) -> IntArray:
    found = np.empty(x.shape[0], dtype=np.int32)
    for row in range(x.shape[0]):
        found[row] = _leaf(feature, threshold, left, right, x[row])
    return found


@dataclass(frozen=True, eq=False)
class Tree:
    """A binary tree; node 0 is the root, and children come after their parents.

    Attributes:
        feature: Index of the feature that a node asks for, `LEAF` at leaves; shape (nodes).
        threshold: A value up to which it goes left, shape (nodes).
        left: Left child, shape (nodes); -1 at leaves.
        right: Right child, shape (nodes); -1 at leaves.
        value: Mean target of the training samples in a node, shape (nodes).
        low: Target below which few out-of-fold samples of a leaf fell, shape (nodes).
        high: Target above which few out-of-fold samples of a leaf rose, shape (nodes).
        samples: Training samples in a node, shape (nodes).
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    value: FloatArray
    low: FloatArray
    high: FloatArray
    samples: IntArray

    def check(self, features: int) -> Self:
        """This tree, or an `ArtifactError` where walking it would leave it or never end."""
        nodes = len(self.feature)
        inner = self.feature != LEAF
        order = np.arange(nodes)
        for name, child in (("left", self.left), ("right", self.right)):
            if not np.all((child[inner] > order[inner]) & (child[inner] < nodes)):
                raise ArtifactError(f"tree.{name}: a child must come after its parent and exist")
        if nodes == 0 or not np.all((self.feature >= LEAF) & (self.feature < features)):
            raise ArtifactError(f"tree.feature: every index must be below {features}, or {LEAF} at a leaf")
        return self

    def widened(self, factor: float) -> Self:
        """This tree with its bounds that many times as far from its values, never below zero."""
        low = np.maximum(0.0, self.value - factor * (self.value - self.low))
        return replace(self, low=low, high=self.value + factor * (self.high - self.value))

    def leaf(self, x: FloatArray) -> int:
        """The leaf of one feature vector, shape (features)."""
        return int(_leaf(self.feature, self.threshold, self.left, self.right, x))

    def leaves(self, x: FloatArray) -> IntArray:
        """The leaves of many feature vectors, shape (n, features)."""
        found: IntArray = _leaves(self.feature, self.threshold, self.left, self.right, x)
        return found

    def predict_one(self, x: FloatArray) -> float:
        """The mean target at one feature vector."""
        return float(self.value[_leaf(self.feature, self.threshold, self.left, self.right, x)])

    def predict(self, x: FloatArray) -> FloatArray:
        """Mean targets of many feature vectors, shape (n)."""
        values: FloatArray = self.value[self.leaves(x)]
        return values

    def path(self, x: FloatArray) -> list[int]:
        """The nodes from the root to the leaf of one feature vector."""
        nodes = [0]
        while self.feature[nodes[-1]] != LEAF:
            node = nodes[-1]
            goes_left = float(np.float32(x[self.feature[node]])) <= self.threshold[node]
            nodes.append(int(self.left[node] if goes_left else self.right[node]))
        return nodes

    def path_to(self, leaf: int) -> list[int]:
        """The nodes from the root to a node."""
        parents = {int(child): node for side in (self.left, self.right) for node, child in enumerate(side)}
        nodes = [leaf]
        while nodes[0] != 0:
            nodes.insert(0, parents[nodes[0]])
        return nodes

    @property
    def depth(self) -> int:
        """Questions on the longest path."""
        depths = np.zeros(len(self.feature), dtype=np.int64)
        for node in np.flatnonzero(self.feature != LEAF):
            depths[self.left[node]] = depths[self.right[node]] = depths[node] + 1
        return int(depths.max())

    @property
    def leaf_count(self) -> int:
        """Leaves of the tree."""
        return int(np.count_nonzero(self.feature == LEAF))
