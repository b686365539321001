"""Whatever is written, the answer is a model or sentences that each name a field."""

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter_operator.api.load import load_adapter_deployment, parse_adapter_deployment
from adapter_operator.errors import SpecError

WHOLE = {
    "apiVersion": "adaptwin.io/v1alpha1",
    "kind": "AdapterDeployment",
    "metadata": {"name": "a"},
    "spec": {
        "model": {"name": "m", "source": {"path": "/m"}},
        "profile": {"name": "p"},
        "adapters": [{"name": "x", "rank": 8, "rate": "0.5", "source": {"path": "/x"}}],
        "traffic": {"arrivals": {"process": "Gamma", "coefficientOfVariation": "2"}},
        "objectives": {"interTokenLatency": "50ms"},
        "engine": {"args": ["--seed=1"], "env": [{"name": "A", "value": "b"}]},
    },
    "status": {
        "observedGeneration": 1,
        "pools": [{"name": "p-0", "replicas": 1, "maxLoras": 8, "maxLoraRank": 8}],
    },
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths(item, path=()):
    """The paths of all that an object holds."""
    entries = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from paths(value, (*path, key))


@given(st.sampled_from(list(paths(WHOLE))), values)
def test_any_value_anywhere(path, value):
    item = copy.deepcopy(WHOLE)
    parent = item
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    try:
        parse_adapter_deployment(item)
    except SpecError as error:
        for problem in error.problems:
            field, _, sentence = problem.partition(": ")
            assert field, problem
            assert sentence, problem
            assert "\n" not in problem


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_any_document(value):
    with pytest.raises(SpecError):
        load_adapter_deployment(yaml.safe_dump(value, allow_unicode=True))


@given(st.text(max_size=40))
def test_any_text(text):
    with pytest.raises(SpecError):
        load_adapter_deployment(text)
