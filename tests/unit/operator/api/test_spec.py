import pytest

from adapter_operator.api.load import parse_adapter_deployment

MINIMAL = {
    "apiVersion": "adaptwin.io/v1alpha1",
    "kind": "AdapterDeployment",
    "metadata": {"name": "a"},
    "spec": {
        "model": {"name": "m", "source": {"path": "/m"}},
        "profile": {"name": "p"},
        "adapters": [{"name": "x", "rank": 8, "rate": "0.5", "source": {"path": "/x"}}],
    },
}


@pytest.fixture
def spec():
    return lambda **fields: parse_adapter_deployment(MINIMAL | {"spec": MINIMAL["spec"] | fields}).spec


def test_plain_numbers_of_the_defaults(spec):
    """What is promised in the documentation."""
    spec = spec()
    assert (spec.objectives.served_fraction_percent, spec.objectives.headroom_percent) == (95, 10)
    assert spec.objectives.inter_token_latency_s is None
    assert spec.objectives.time_to_first_token_s is None
    assert (spec.scaling.min_replicas, spec.scaling.max_replicas, spec.scaling.mode) == (1, 8, "Auto")
    assert (spec.scaling.scale_up_window_s, spec.scaling.scale_down_window_s) == (0.0, 600.0)
    assert (spec.rollout.max_surge_gpus, spec.rollout.max_unavailable) == (1, 1)
    assert spec.rollout.progress_deadline_s == 1800.0
    assert (spec.verification.horizon_s, spec.verification.timeout_s) == (3600.0, 120.0)
    assert (spec.verification.seeds, spec.verification.runner) == (2, "Inline")
    assert spec.verification.on_failure == "BestEffort"
    assert (spec.traffic.source, spec.traffic.window_s) == ("Declared", 600.0)
    assert spec.traffic.default_rate_per_s is None
    assert spec.traffic.arrivals.burstiness == 1.0
    assert spec.capacity.max_gpus is None
    assert spec.priority == 0
    assert spec.adapters[0].min_replicas == 1


def test_plain_numbers_of_what_is_written(spec):
    spec = spec(
        objectives={"interTokenLatency": "50ms", "timeToFirstToken": "1.5s"},
        traffic={"defaultRate": 2, "arrivals": {"process": "Gamma", "coefficientOfVariation": "2.5"}},
        rollout={"maxSurgeGPUs": 0},
        capacity={"maxGPUs": 4},
    )
    assert spec.objectives.inter_token_latency_s == 0.05
    assert spec.objectives.time_to_first_token_s == 1.5
    assert spec.traffic.default_rate_per_s == 2.0
    assert spec.traffic.arrivals.burstiness == 2.5
    assert (spec.rollout.max_surge_gpus, spec.capacity.max_gpus) == (0, 4)


def test_the_name_that_requests_use(spec):
    assert spec().model.request_name == "m"
    served = {"name": "m", "servedName": "assistant", "source": {"path": "/m"}}
    assert spec(model=served).model.request_name == "assistant"


def test_engine_arguments(spec):
    engine = spec(engine={"args": ["--max-model-len=8192", "--enable-auto-tool-choice"]}).engine
    assert engine.argument("max-model-len") == "8192"
    assert engine.argument("max-num-seqs") is None


def test_a_spec_cannot_be_changed(spec):
    with pytest.raises(ValueError, match="frozen"):
        spec().priority = 3
