"""Derived profiles: geometry from config.json, scaling by the roofline, and what is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapter_twin.cli import app
from adapter_twin.errors import ProfileError
from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.memory import kv_budget_bytes, memory_verdict
from adapter_twin.profile import load_profile
from adapter_twin.profile.derivation import derive_profile
from adapter_twin.profile.geometry import geometry_of, read_geometry
from adapter_twin.profile.hardware import known_gpus, load_gpu
from adapter_twin.validation.memory import score_memory

MEASUREMENTS = MeasurementFolder(Path(__file__).parents[2] / "data" / "measurements")
LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
QWEN_CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "num_hidden_layers": 28,
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
}


@pytest.fixture
def llama():
    return load_profile("llama-3.1-8b-instruct-h100-64gb")


@pytest.fixture
def qwen():
    return load_profile("qwen-2.5-7b-instruct-h100-64gb")


def test_the_geometry_of_both_models_follows_from_their_config(llama, qwen):
    assert geometry_of(LLAMA_CONFIG, llama.model.name) == llama.model
    assert geometry_of(QWEN_CONFIG, qwen.model.name) == qwen.model


def test_memory_of_a_model_that_was_never_seen_is_within_one_percent(llama, qwen):
    for source, target in ((llama, qwen), (qwen, llama)):
        derived = derive_profile(source, model=target.model)
        scores = score_memory(derived, MEASUREMENTS.kv_capacity(target.model.name))
        assert scores.worst_percent < 1.0
        assert scores.oom_accuracy == 1.0


def test_a_derived_profile_says_so_and_keeps_a_margin(llama):
    derived = derive_profile(llama, gpu=load_gpu("H100-80GB"))
    assert derived.name == "llama-3.1-8b-instruct-h100-80gb"
    assert (derived.origin, derived.fit) == ("derived", None)
    assert derived.safety_margin_percent > llama.safety_margin_percent
    assert derived.content_hash != llama.content_hash


def test_a_faster_and_larger_gpu_makes_steps_shorter_and_leaves_more_memory(llama):
    h200 = derive_profile(llama, gpu=load_gpu("H200"))
    assert all(getattr(h200.step_time, name) <= value for name, value in llama.step_time.model_dump().items())
    assert memory_verdict(h200, 64, 32).kv_cache_tokens > memory_verdict(llama, 64, 32).kv_cache_tokens


def test_tensor_parallelism_splits_weights_and_context(llama):
    split = derive_profile(llama, tensor_parallel_size=2)
    assert split.name.endswith("-tp2")
    assert split.step_time.per_kv_token == pytest.approx(llama.step_time.per_kv_token / 2)
    assert split.step_time.base < llama.step_time.base
    freed = kv_budget_bytes(split, 0.9) - kv_budget_bytes(llama, 0.9)
    assert freed == llama.model.weight_bytes // 2
    assert memory_verdict(split, 64, 16).kv_cache_tokens > 2 * memory_verdict(llama, 64, 16).kv_cache_tokens


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"architectures": ["MixtralForCausalLM"]},
            "architectures: 'MixtralForCausalLM' is not one of Llama",
        ),
        ({"architectures": []}, "architectures: '' is not one of"),
        ({"hidden_size": 0}, "hidden_size: Input should be greater than 0"),
    ],
)
def test_a_config_that_does_not_fit_is_named(change, message):
    with pytest.raises(ProfileError, match=message):
        geometry_of(LLAMA_CONFIG | change, "m")


def test_a_config_that_lacks_a_field_or_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ProfileError, match="vocab_size: Field required"):
        geometry_of({k: v for k, v in LLAMA_CONFIG.items() if k != "vocab_size"}, "m")
    with pytest.raises(ProfileError, match="model config: cannot read"):
        read_geometry(tmp_path / "config.json", "m")


def test_only_a_calibrated_profile_on_one_gpu_is_scaled(llama):
    derived = derive_profile(llama, gpu=load_gpu("L40S"))
    with pytest.raises(ProfileError, match="is not calibrated on one GPU"):
        derive_profile(derived, gpu=load_gpu("H200"))
    with pytest.raises(ProfileError, match="tensor_parallel_size: 3 does not divide query_size 4096"):
        derive_profile(llama, tensor_parallel_size=3)


def test_an_unknown_gpu_lists_the_known_ones():
    assert {"A100-80GB", "B200", "H100-80GB", "H200", "L40S"} <= set(known_gpus())
    with pytest.raises(ProfileError, match="none named 'T4'; known are A100-40GB"):
        load_gpu("T4")


def test_the_command_writes_a_profile_that_loads(tmp_path):
    config, output = tmp_path / "config.json", tmp_path / "derived.json"
    config.write_text(json.dumps(QWEN_CONFIG), encoding="utf-8")
    arguments = ["derive", "llama-3.1-8b-instruct-h100-64gb", "--gpu", "A100-80GB", "-o", str(output)]
    arguments += ["--model-config", str(config), "--model-name", "mine"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert load_profile(output).name == "mine-a100-80gb"


def test_the_profiles_are_listed():
    result = CliRunner().invoke(app, ["profiles"])
    assert result.exit_code == 0, result.output
    assert "calibrated" in result.output
    assert "H100-80GB" in result.output
