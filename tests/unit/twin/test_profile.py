"""Profiles: what is shipped loads, and what is wrong is named."""

import json

import pytest

from adapter_twin.engine.step_time import N_COEFFICIENTS
from adapter_twin.errors import ProfileError
from adapter_twin.profile import available_profiles, load_profile, parse_profile, profile_json

LLAMA = "llama-3.1-8b-instruct-h100-64gb"


def test_both_calibrated_profiles_are_shipped():
    assert available_profiles() == [LLAMA, "qwen-2.5-7b-instruct-h100-64gb"]


@pytest.mark.parametrize("name", available_profiles())
def test_a_profile_survives_its_own_json(name):
    profile = load_profile(name)
    assert profile.name == name
    assert parse_profile(profile_json(profile), name) == profile
    assert profile.coefficients().shape == (N_COEFFICIENTS,)


def test_a_profile_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(profile_json(load_profile(LLAMA)), encoding="utf-8")
    assert load_profile(path).content_hash == load_profile(LLAMA).content_hash


def test_the_hash_covers_what_decides_predictions_and_nothing_else():
    profile = load_profile(LLAMA)
    slower = profile.step_time.model_copy(update={"base": profile.step_time.base * 2})
    assert profile.model_copy(update={"step_time": slower}).content_hash != profile.content_hash
    assert profile.model_copy(update={"fit": None}).content_hash == profile.content_hash


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ProfileError, match=rf"none named 'llama-9'; shipped are {LLAMA}, qwen"):
        load_profile("llama-9")


def test_a_missing_file_is_named():
    with pytest.raises(ProfileError, match=r"cannot read nowhere\.json: No such file"):
        load_profile("nowhere.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, r"colour: Extra inputs are not permitted"),
        ({"safety_margin_percent": -1}, r"safety_margin_percent: Input should be greater"),
        ({"schema_version": "adaptwin.io/profile/v9"}, r"schema_version: Input should be"),
    ],
)
def test_a_wrong_field_is_named(change, message):
    content = json.loads(profile_json(load_profile(LLAMA))) | change
    with pytest.raises(ProfileError, match=message):
        parse_profile(json.dumps(content), "mine.json")


def test_text_that_is_not_json_is_named():
    with pytest.raises(ProfileError, match=r"mine\.json is not JSON"):
        parse_profile("{", "mine.json")


def test_loading_a_narrower_adapter_takes_longer_because_its_slot_is_padded():
    profile = load_profile(LLAMA)
    assert profile.cpu_to_gpu_s(8, 32) > profile.cpu_to_gpu_s(32, 32) > 0.0
    assert profile.disk_s(32) > profile.disk_s(8) > 0.0


@pytest.mark.parametrize("name", available_profiles())
def test_context_is_read_no_faster_than_the_memory_allows(name):
    profile = load_profile(name)
    bytes_per_s = profile.model.kv_bytes_per_token / profile.step_time.per_kv_token
    assert 0.5 <= bytes_per_s / profile.gpu.bandwidth_bytes_per_s <= 1.2501
