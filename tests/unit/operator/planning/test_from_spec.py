import pytest

from adapter_operator.api.load import load_adapter_deployment, parse_adapters
from adapter_operator.errors import SpecError
from adapter_operator.planning import request_from_spec
from adapter_operator.planning.from_spec import engine_fingerprint
from adapter_predictor.placement import TokenMeans
from adapter_twin.profile import load_profile
from adapter_twin.workload import GammaBurst, Poisson

PROFILE = load_profile("llama-3.1-8b-instruct-h100-64gb")

SPEC = """
apiVersion: adaptwin.io/v1alpha1
kind: AdapterDeployment
metadata: {{name: support}}
spec:
  model:
    name: llama-3.1-8b-instruct
    source: {{huggingFace: {{repository: meta-llama/Llama-3.1-8B-Instruct}}}}
  profile: {{name: llama-3.1-8b-instruct-h100-64gb}}
  {extra}
  adapters:
    - {{name: hot, rank: 16, rate: "1.5", minReplicas: 2, source: {{path: /adapters/hot}}}}
    - {{name: cold, rank: 8, {cold_rate}source: {{path: /adapters/cold}}}}
"""


def deployment(extra="priority: 0", cold_rate="rate: 20m, "):
    return load_adapter_deployment(SPEC.format(extra=extra, cold_rate=cold_rate))


def test_defaults_are_those_of_the_resource():
    request = request_from_spec(deployment())
    assert request.name == "support"
    assert [(a.name, a.rate, a.rank, a.min_copies) for a in request.adapters] == [
        ("hot", 1.5, 16, 2),
        ("cold", 0.02, 8, 1),
    ]
    assert request.objectives.served_fraction == 0.95
    assert request.objectives.headroom == pytest.approx(0.1)
    assert (request.limits.min_replicas, request.limits.max_replicas, request.limits.max_gpus) == (1, 8, None)
    assert (request.verification.horizon_s, request.verification.seeds) == (3600.0, 2)
    assert request.verification.on_failure == "BestEffort"
    assert request.arrivals == Poisson()
    assert request.tokens is None


def test_everything_that_is_set_arrives():
    extra = """objectives:
    {servedFractionPercent: 99, headroomPercent: 25, interTokenLatency: 40ms, timeToFirstToken: 2s}
  scaling: {minReplicas: 2, maxReplicas: 4}
  capacity: {maxGPUs: 3}
  verification: {horizon: 30m, seeds: 3, onFailure: KeepLast, timeout: 45s}
  traffic: {arrivals: {process: Gamma, coefficientOfVariation: "2.5"}, tokens: {promptMean: 300}}"""
    request = request_from_spec(deployment(extra))
    objectives = request.objectives
    assert (objectives.served_fraction, objectives.headroom) == (0.99, 0.25)
    assert (objectives.itl_s, objectives.ttft_s) == (0.04, 2.0)
    assert (request.limits.min_replicas, request.limits.max_replicas, request.limits.max_gpus) == (2, 4, 3)
    settings = request.verification
    assert (settings.horizon_s, settings.seeds, settings.timeout_s) == (1800.0, 3, 45.0)
    assert settings.on_failure == "KeepLast"
    assert request.arrivals == GammaBurst(cv=2.5)
    assert request.tokens == TokenMeans(300.0, request.profile.workload_defaults.output.mean)


def test_rates_observed_come_before_declared_before_default():
    made = deployment("traffic: {defaultRate: 10m}", cold_rate="")
    assert [a.rate for a in request_from_spec(made).adapters] == [1.5, 0.01]
    observed = request_from_spec(made, observed_rates={"hot": 0.0, "cold": 3.0})
    assert [a.rate for a in observed.adapters] == [0.0, 3.0]


def test_engine_arguments_that_the_twin_knows_change_the_profile():
    plain = request_from_spec(deployment())
    extra = 'engine: {args: ["--max-model-len=8192", "--gpu-memory-utilization=0.8"]}'
    changed = request_from_spec(deployment(extra))
    assert changed.profile.engine.max_model_len == 8192
    assert changed.profile.engine.gpu_memory_utilization == 0.8
    assert changed.profile.content_hash != plain.profile.content_hash
    assert changed.engine != plain.engine


def fingerprint(extra="priority: 0", profile=PROFILE):
    return engine_fingerprint(deployment(extra).spec, profile)


def test_only_the_engine_changes_its_fingerprint():
    assert fingerprint("scaling: {maxReplicas: 3}") == fingerprint()
    assert fingerprint("engine: {}") == fingerprint()
    assert fingerprint("engine: {image: example/vllm:1}") != fingerprint()


def with_own_profile(profile):
    spec = deployment().spec
    source = spec.profile.model_validate({"configMap": {"name": "profiles", "key": "mine.json"}})
    return engine_fingerprint(spec.model_copy(update={"profile": source}), profile)


def test_a_profile_changes_the_fingerprint_by_what_engines_are_started_with():
    shorter = PROFILE.model_copy(update={"engine": PROFILE.engine.model_copy(update={"max_model_len": 8192})})
    wider = PROFILE.model_copy(update={"tensor_parallel_size": 2})
    again = PROFILE.model_copy(update={"safety_margin_percent": 7})
    assert len({with_own_profile(each) for each in (PROFILE, shorter, wider)}) == 3
    assert with_own_profile(again) == with_own_profile(PROFILE), "calibrating anew restarts nothing"
    assert fingerprint(profile=shorter) == fingerprint(), "nor does a release that ships another one"


def test_more_adapters_join_and_must_be_new():
    listed = deployment("adaptersFrom: [{configMap: {name: more, key: adapters}}]")
    more = parse_adapters('[{name: third, rank: 32, rate: "1", source: {path: /a}}]', "more")
    assert len(request_from_spec(listed, more_adapters=more).adapters) == 3
    twice = parse_adapters('[{name: hot, rank: 32, rate: "1", source: {path: /a}}]', "more")
    with pytest.raises(SpecError, match="the name hot is taken"):
        request_from_spec(listed, more_adapters=twice)
    unrated = parse_adapters("[{name: third, rank: 32, source: {path: /a}}]", "more")
    with pytest.raises(SpecError, match="third has no rate"):
        request_from_spec(listed, more_adapters=unrated)
    with pytest.raises(SpecError, match=r"^spec\.adaptersFrom: "):
        request_from_spec(listed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("llama-3.1-8b-instruct-h100-64gb", "llama-4"),
            r"^spec\.profile\.name: llama-4 is not a shipped profile",
        ),
        (("llama-3.1-8b-instruct-h100-64gb", "x.json"), r"^spec\.profile\.name: "),
        (
            ("name: llama-3.1-8b-instruct\n", "name: mistral\n"),
            r"^spec\.model\.name: mistral is not the model of",
        ),
        (
            ("{name: llama-3.1-8b-instruct-h100-64gb}", "{configMap: {name: p, key: k}}"),
            r"^spec\.profile\.configMap: ",
        ),
        (
            ("priority: 0", "traffic: {tokens: {promptMean: 90000}}"),
            r"^spec\.traffic\.tokens\.promptMean: 90000",
        ),
    ],
)
def test_what_does_not_go_together_is_one_sentence_that_names_the_field(change, message):
    text = SPEC.format(extra="priority: 0", cold_rate="rate: 20m, ").replace(*change)
    with pytest.raises(SpecError, match=message):
        request_from_spec(load_adapter_deployment(text))


def test_seeds_belong_to_the_request_and_to_nothing_else():
    one, same = (request_from_spec(deployment()) for _ in range(2))
    other = request_from_spec(deployment(cold_rate="rate: 30m, "))
    assert one.verification_seeds == same.verification_seeds
    assert len(set(one.verification_seeds)) == 2
    assert not set(one.verification_seeds) & set(other.verification_seeds)
    assert min(one.verification_seeds) > 10_000
