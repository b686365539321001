import dataclasses

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from adapter_predictor.errors import ArtifactError
from adapter_predictor.features import FEATURES
from adapter_predictor.training.regression import from_sklearn


def neighbours(thresholds):
    """Each threshold, and the floats beside it in both precisions."""
    single = thresholds.astype(np.float32)
    return np.unique(
        np.concatenate(
            [
                thresholds,
                np.nextafter(thresholds, -np.inf),
                np.nextafter(thresholds, np.inf),
                single.astype(np.float64),
                np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
                np.nextafter(single, np.float32(np.inf)).astype(np.float64),
            ]
        )
    )


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    x = rng.lognormal(0.0, 3.0, size=(3000, len(FEATURES)))
    y = np.log(x[:, 0]) * (x[:, 3] > 1.0) + 0.1 * rng.standard_normal(3000)
    return DecisionTreeRegressor(min_samples_leaf=5, random_state=0).fit(x, y), x


def test_equal_to_scikit_learn_to_the_last_bit(fitted):
    model, x = fitted
    tree = from_sklearn(model)
    assert np.array_equal(tree.predict(x), model.predict(x))
    assert np.array_equal(tree.leaves(x), model.apply(x))


def test_equal_to_scikit_learn_on_thresholds_and_their_neighbours(fitted):
    model, x = fitted
    tree = from_sklearn(model)
    rng = np.random.default_rng(1)
    for feature in range(len(FEATURES)):
        edges = neighbours(tree.threshold[tree.feature == feature])
        rows = x[rng.integers(len(x), size=len(edges))].copy()
        rows[:, feature] = edges
        assert np.array_equal(tree.leaves(rows), model.apply(rows))


def test_one_vector_is_a_batch_of_one(fitted):
    model, x = fitted
    tree = from_sklearn(model)
    for row in x[:50]:
        assert tree.predict_one(row) == tree.predict(row[None, :])[0]
        path = tree.path(row)
        assert path[0] == 0
        assert path[-1] == tree.leaf(row)


def test_sizes_agree_with_scikit_learn(fitted):
    model, _ = fitted
    tree = from_sklearn(model)
    assert tree.depth == model.get_depth()
    assert tree.leaf_count == model.get_n_leaves()


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("left", [0, -1, -1], "tree.left"),
        ("right", [9, -1, -1], "tree.right"),
        ("feature", [99, -1, -1], "tree.feature"),
        ("feature", [-7, -1, -1], "tree.feature"),
    ],
)
def test_what_is_no_tree_is_refused(stump_nodes, field, values, message):
    tree = stump_nodes.tree()
    broken = dataclasses.replace(tree, **{field: np.array(values, dtype=np.int32)})
    with pytest.raises(ArtifactError, match=message):
        broken.check(len(FEATURES))
