"""The memory model against the KV capacities that vLLM reported, and its physics."""

import itertools
import re
from pathlib import Path

import pytest

from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.memory import ALLOWED_LORA_RANKS, memory_verdict, slots_bytes
from adapter_twin.profile import available_profiles, load_profile
from adapter_twin.validation.memory import score_memory

MEASUREMENTS = MeasurementFolder(Path(__file__).parents[2] / "data" / "measurements")


@pytest.mark.parametrize("name", available_profiles())
def test_capacity_is_within_one_percent_and_every_oom_is_told_apart(name):
    profile = load_profile(name)
    scores = score_memory(profile, MEASUREMENTS.kv_capacity(profile.model.name))
    assert scores.rows == 42
    assert scores.worst_percent < 1.0
    assert scores.oom_accuracy == 1.0


@pytest.mark.parametrize("name", available_profiles())
def test_memory_verdict_of_every_run_is_right(name):
    profile = load_profile(name)
    for run in MEASUREMENTS.runs(profile.model.name):
        assert memory_verdict(profile, run.max_loras, run.max_lora_rank).fits == (run.status == "ok"), run.run


@pytest.mark.parametrize("name", available_profiles())
def test_more_slots_and_higher_ranks_never_leave_more_kv_cache(name):
    profile = load_profile(name)
    for rank, higher in itertools.pairwise(ALLOWED_LORA_RANKS):
        tokens = [memory_verdict(profile, slots, rank).kv_cache_tokens for slots in (1, 8, 64, 256)]
        assert tokens == sorted(tokens, reverse=True)
        assert memory_verdict(profile, 64, higher).kv_cache_tokens <= tokens[2]


def test_a_configuration_that_does_not_fit_says_why():
    verdict = memory_verdict(load_profile("llama-3.1-8b-instruct-h100-64gb"), 128, 32)
    assert not verdict.fits
    assert re.fullmatch(
        r"128 slots of rank 32 leave 120,\d{3} KV cache tokens on H100-64GB, "
        r"fewer than max_model_len 131,072",
        verdict.reason,
    )


def test_a_shorter_context_makes_the_same_slots_fit():
    profile = load_profile("llama-3.1-8b-instruct-h100-64gb")
    assert memory_verdict(profile, 128, 32, max_model_len=8192).fits


def test_reserved_memory_is_at_least_what_is_requested():
    profile = load_profile("qwen-2.5-7b-instruct-h100-64gb")
    for slots in (1, 7, 33, 200):
        assert slots_bytes(profile, slots, 16) >= slots * profile.adapter_bytes(16)
