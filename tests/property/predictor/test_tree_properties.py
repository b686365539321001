import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeRegressor

from adapter_predictor.artifact import TreeNodes
from adapter_predictor.features import FEATURES
from adapter_predictor.training.regression import from_sklearn


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 9), spread=st.floats(0.1, 8.0))
def test_a_tree_from_json_is_scikit_learns_to_the_last_bit(seed, depth, spread):
    rng = np.random.default_rng(seed)
    x = rng.lognormal(0.0, spread, size=(200, len(FEATURES)))
    model = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(x, rng.standard_normal(200))
    tree = TreeNodes.model_validate_json(TreeNodes.of(from_sklearn(model)).model_dump_json()).tree()
    edges = rng.choice(np.concatenate([tree.threshold, x.ravel()]), size=(100, len(FEATURES)))
    near = np.nextafter(edges, rng.choice([-np.inf, np.inf], size=edges.shape))
    for rows in (x, edges, near):
        assert np.array_equal(tree.predict(rows), model.predict(rows))
