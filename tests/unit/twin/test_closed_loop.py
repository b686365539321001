"""A closed-loop client: at most N requests open, sent in order, each as soon as one has ended."""

import numpy as np
import pytest

from adapter_twin.errors import EngineConfigError
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, Requests

COUNT, OUTPUT = 60, 40


@pytest.fixture
def profile():
    profile = load_profile("llama-3.1-8b-instruct-h100-64gb")
    front_end = profile.front_end.model_copy(update={"request_s": 0.0, "scrape_interval_s": 0.0})
    return profile.model_copy(update={"front_end": front_end})


def requests(arrival_s=None):
    return Requests(
        np.zeros(COUNT) if arrival_s is None else arrival_s,
        np.full(COUNT, 20),
        np.full(COUNT, OUTPUT),
        np.full(COUNT, -1),
    )


def served(profile, given, **config):
    settings = ReplicaConfig(max_loras=0, max_lora_rank=8, **config)
    return simulate_replica(profile, settings, given, (), duration_s=1e4)


def test_one_open_request_at_a_time_takes_the_sum_of_all(profile):
    report = served(profile, requests(), client_concurrency=1)
    alone = served(profile, requests().select(np.arange(COUNT) < 1))
    assert report.completed_requests == COUNT
    assert report.last_finish_s == pytest.approx(COUNT * alone.last_finish_s, rel=1e-9)
    assert report.ttft_s.mean == pytest.approx(alone.ttft_s.mean, rel=1e-9)
    assert report.waiting_max == 0


def test_no_more_are_open_than_allowed_and_none_is_lost(profile):
    report = served(profile, requests(), client_concurrency=7)
    assert report.completed_requests == COUNT
    assert report.timeseries.running.max() <= 7.0 + 1e-9
    assert report.waiting_max <= 7


def test_a_limit_that_never_binds_changes_nothing(profile):
    given = requests(np.sort(np.random.default_rng(1).uniform(0, 300, COUNT)))
    limited, free = served(profile, given, client_concurrency=COUNT), served(profile, given)
    assert limited.last_finish_s == free.last_finish_s
    assert limited.ttft_s == free.ttft_s


def test_a_request_is_not_sent_before_it_was_meant_to(profile):
    arrival_s = np.arange(COUNT) * 10.0
    report = served(profile, requests(arrival_s), client_concurrency=1)
    assert report.last_finish_s > arrival_s[-1]
    assert report.ttft_s.p99 < 1.0


def test_adapters_that_find_no_slot_do_not_stop_the_client(profile):
    given = Requests(np.zeros(COUNT), np.full(COUNT, 20), np.full(COUNT, OUTPUT), np.arange(COUNT) % 6)
    adapters = tuple(Adapter(f"a{i}", 0.0, 8) for i in range(6))
    config = ReplicaConfig(max_loras=2, max_lora_rank=8, client_concurrency=12)
    report = simulate_replica(profile, config, given, adapters, duration_s=1e4)
    assert report.completed_requests == COUNT


def test_a_concurrency_of_nothing_is_refused():
    with pytest.raises(EngineConfigError, match="client_concurrency: 0"):
        ReplicaConfig(max_loras=1, max_lora_rank=8, client_concurrency=0)
