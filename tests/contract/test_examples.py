"""The examples are what their comments and the documentation say they are."""

import itertools

import pytest

from adapter_operator.api.load import load_adapter_deployment
from adapter_twin.profile import available_profiles, load_profile

EXAMPLES = [
    "impossible.yaml",
    "llama-3.1-8b-160-adapters.yaml",
    "llama-3.1-8b-defaults.yaml",
    "qwen-2.5-7b-minimal.yaml",
]


@pytest.fixture
def example(repository):
    return lambda name: load_adapter_deployment(repository / "examples" / name)


def test_there_are_no_others(repository):
    assert sorted(path.name for path in (repository / "examples").glob("*.yaml")) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_names_a_shipped_profile_and_its_model(example, name):
    spec = example(name).spec
    assert spec.profile.name in available_profiles()
    assert load_profile(spec.profile.name).model.name == spec.model.name


@pytest.mark.parametrize("name", ["llama-3.1-8b-160-adapters.yaml", "llama-3.1-8b-defaults.yaml"])
def test_the_workload_is_the_measured_one(example, name):
    adapters = example(name).spec.adapters
    pairs = list(itertools.islice(itertools.cycle([(0.4, 8), (0.05, 16), (0.00625, 32)]), 160))
    assert [(adapter.rate_per_s, adapter.rank) for adapter in adapters] == pairs
    assert sum(rate for rate, _ in pairs) == pytest.approx(24.58125)


def test_the_measured_objectives(example):
    spec = example("llama-3.1-8b-160-adapters.yaml").spec
    objectives = spec.objectives
    assert (objectives.served_fraction_percent, objectives.headroom_percent) == (90, 0)
    assert objectives.inter_token_latency_s is None
    assert objectives.time_to_first_token_s is None
    assert (spec.traffic.source, spec.traffic.arrivals.process) == ("Declared", "Poisson")
    assert spec.verification.horizon_s == 3600.0


def test_the_defaults_are_the_defaults(example):
    spec = example("llama-3.1-8b-defaults.yaml").spec
    assert not {"objectives", "traffic", "verification"} & spec.model_fields_set
    assert (spec.objectives.served_fraction_percent, spec.objectives.headroom_percent) == (95, 10)
