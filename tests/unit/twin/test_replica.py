import json

import numpy as np
import pytest

from adapter_twin.errors import EngineConfigError
from adapter_twin.profile import load_profile
from adapter_twin.profile.model import Scheduling
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.report import Status
from adapter_twin.slo import completable, served_fraction
from adapter_twin.workload import Adapter, Requests, Workload, generate

DURATION_S = 600.0


@pytest.fixture(scope="module")
def profile():
    return load_profile("llama-3.1-8b-instruct-h100-64gb")


def adapters(count, rate, rank=8):
    return [Adapter(f"a{i}", rate, rank) for i in range(count)]


def simulate(profile, served, config, seed=1, duration_s=DURATION_S):
    requests = generate(Workload.for_profile(profile, served, duration_s), seed)
    return simulate_replica(profile, config, requests, served, duration_s=duration_s)


@pytest.fixture(scope="module")
def light(profile):
    return simulate(profile, adapters(16, 0.1), ReplicaConfig(16, 8))


@pytest.fixture(scope="module")
def heavy(profile):
    return simulate(profile, adapters(64, 1.0), ReplicaConfig(16, 8))


def test_a_light_load_is_served(light):
    assert light.status is Status.OK
    assert light.served_fraction > 0.99
    assert light.starving_adapters(0.9) == []
    assert light.waiting_mean < 1
    assert light.preemptions == 0


def test_a_heavy_load_starves(heavy):
    assert heavy.served_fraction < 0.7
    assert len(heavy.starving_adapters(0.9)) > 32
    assert heavy.waiting_mean > 100
    assert heavy.adapter_loads > 0
    assert heavy.ttft_s.mean > 10


@pytest.mark.parametrize("name", ["light", "heavy"])
class TestEveryReport:
    @pytest.fixture
    def report(self, name, request):
        return request.getfixturevalue(name)

    def test_invariant_3_requests_are_conserved(self, report):
        assert report.offered_requests == (
            report.completed_requests
            + report.running_requests
            + report.waiting_requests
            + report.rejected_requests
        )
        assert report.per_adapter.offered_requests.sum() == report.offered_requests
        assert report.per_adapter.completed_requests.sum() == report.completed_requests

    def test_invariant_4_tokens_are_conserved(self, report):
        own = report.per_adapter
        assert own.offered_tokens.sum() == report.offered_tokens
        assert own.completed_tokens.sum() == report.input_tokens + report.output_tokens
        assert np.all(own.served_tokens <= own.completable_tokens)
        assert own.served_tokens.sum() / own.completable_tokens.sum() == pytest.approx(report.served_fraction)

    def test_gauges_stay_within_the_limits(self, report):
        assert 0 < report.kv_usage_mean <= report.kv_usage_max <= 1
        assert report.timeseries.kv_usage.max() <= 1
        assert report.waiting_mean <= report.waiting_max

    def test_percentiles_are_ordered(self, report):
        for summary in (report.ttft_s, report.tpot_s, report.itl_s, report.e2e_s):
            assert 0 < summary.p50 <= summary.p90 <= summary.p99

    def test_becomes_json(self, report):
        plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert plain["status"] == "ok"
        assert plain["throughput_tokens_per_s"] == pytest.approx(report.throughput_tokens_per_s)
        assert len(plain["per_adapter"]["served_fraction"]) == len(plain["per_adapter"]["names"])


def test_invariant_9_same_seed_same_report(profile, light):
    again = simulate(profile, adapters(16, 0.1), ReplicaConfig(16, 8))
    assert again.to_dict() == light.to_dict()
    other = simulate(profile, adapters(16, 0.1), ReplicaConfig(16, 8), seed=2)
    assert other.to_dict() != light.to_dict()


def test_out_of_memory_is_a_report(profile):
    report = simulate(profile, adapters(384, 0.01, rank=32), ReplicaConfig(384, 32))
    assert report.status is Status.OUT_OF_MEMORY
    assert report.completed_requests == 0
    assert report.served_fraction == 0
    assert report.starving_adapters(0.9) != []
    assert "384 slots" in report.memory.reason
    assert json.dumps(report.to_dict(), allow_nan=False)


def test_what_is_longer_than_the_model_is_rejected_or_cut(profile):
    requests = Requests(
        np.array([0.0, 1.0, 2.0]),
        np.array([100, 99, 5], dtype=np.int32),
        np.array([10, 10, 10], dtype=np.int32),
        np.array([0, 0, -1], dtype=np.int32),
    )
    config = ReplicaConfig(1, 8, max_model_len=100)
    report = simulate_replica(profile, config, requests, adapters(1, 1.0), duration_s=60.0)
    assert report.rejected_requests == 1
    assert report.input_tokens == 104
    assert report.output_tokens == 11
    assert report.per_adapter.completed_requests.tolist() == [1]


def test_the_base_model_needs_no_adapters(profile):
    requests = Requests(*(np.array(values) for values in ([0.5], [10], [5], [-1])))
    report = simulate_replica(profile, ReplicaConfig(0, 8), requests, [], duration_s=60.0)
    assert report.completed_requests == 1
    assert report.adapter_loads == 0


def test_no_requests_no_figures(profile):
    nothing = np.zeros(0)
    report = simulate_replica(
        profile,
        ReplicaConfig(1, 8),
        Requests(nothing, nothing, nothing, nothing),
        adapters(1, 0.0),
        duration_s=60.0,
    )
    assert report.served_fraction == 1
    assert np.isnan(report.ttft_s.mean)
    assert report.running_mean == 0
    assert report.timeseries.time_s.size == 120


def test_a_small_cpu_tier_reads_from_disk(profile):
    served = adapters(32, 0.1)
    small = simulate(profile, served, ReplicaConfig(4, 8, max_cpu_loras=4))
    ample = simulate(profile, served, ReplicaConfig(4, 8))
    assert small.adapter_disk_loads > 0
    assert ample.adapter_disk_loads == 0
    assert small.ttft_s.mean > ample.ttft_s.mean


def test_the_connection_cap_turns_requests_away(profile):
    report = simulate(profile, adapters(64, 1.0), ReplicaConfig(16, 8, max_connections=500))
    assert report.rejected_requests > 0
    assert report.running_requests + report.waiting_requests <= 500


def test_overrides_reach_the_engine(profile):
    served = adapters(16, 0.5)
    narrow = simulate(profile, served, ReplicaConfig(16, 8, max_num_seqs=4))
    assert narrow.timeseries.running.max() <= 4
    fewer = simulate(profile, served, ReplicaConfig(16, 8, gpu_memory_utilization=0.6, max_model_len=2048))
    assert fewer.memory.kv_cache_tokens < narrow.memory.kv_cache_tokens


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_loras": -1}, "max_loras: -1 is not allowed"),
        ({"max_lora_rank": 12}, "max_lora_rank: 12 is not one of 1, 8"),
        ({"max_cpu_loras": 1}, "max_cpu_loras: 1 is not allowed, it must be at least max_loras 2"),
        ({"max_num_seqs": 0}, "max_num_seqs: 0 is not allowed"),
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens: 0"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization: 1.5"),
    ],
)
def test_bad_engine_arguments_are_named(arguments, message):
    with pytest.raises(EngineConfigError, match=message):
        ReplicaConfig(**({"max_loras": 2, "max_lora_rank": 8} | arguments))


def test_adapters_must_fit_the_slots(profile):
    with pytest.raises(EngineConfigError, match="max_lora_rank: 8 is below rank 16 of adapter a0"):
        simulate(profile, adapters(1, 1.0, rank=16), ReplicaConfig(1, 8))
    with pytest.raises(EngineConfigError, match="max_loras: 0 is not allowed, adapters need"):
        simulate(profile, adapters(1, 1.0), ReplicaConfig(0, 8))
    requests = generate(Workload.for_profile(profile, adapters(3, 1.0), 60.0), 1)
    with pytest.raises(EngineConfigError, match="adapter 2 is not among the 1 adapters given"):
        simulate_replica(profile, ReplicaConfig(1, 8), requests, adapters(1, 1.0), duration_s=60.0)


class TestVersionsOfTheScheduler:
    def test_a_profile_says_0_8_5_unless_it_says_otherwise(self, profile):
        assert profile.engine.scheduling == Scheduling() == Scheduling.of_version("0.8.5")

    def test_newer_versions_schedule_ahead(self):
        assert Scheduling.of_version("0.32.0").async_scheduling
        assert not Scheduling.of_version("0.32.0").adapter_limit_counts_running
        assert Scheduling.of_version("0.33.1").adapter_limit_counts_running

    def test_scheduling_ahead_hides_the_hosts_part(self, profile):
        def itl_s(**switches):
            config = ReplicaConfig(16, 8, scheduling=Scheduling(scheduling_s=0.002, **switches))
            return simulate(profile, adapters(16, 0.1), config).itl_s.mean

        gained_s = itl_s() - itl_s(async_scheduling=True)
        assert 0.002 <= gained_s <= 0.0025  # shorter steps also meet smaller batches

    def test_a_profiles_rules_hold_unless_the_replica_has_its_own(self, profile):
        served = adapters(16, 0.5)
        few = Scheduling(max_num_active_seqs=4)
        engine = profile.engine.model_copy(update={"scheduling": few})
        of_profile = simulate(profile.model_copy(update={"engine": engine}), served, ReplicaConfig(16, 8))
        of_replica = simulate(profile, served, ReplicaConfig(16, 8, scheduling=few))
        assert of_profile.to_dict() == of_replica.to_dict()
        assert of_profile.timeseries.running.max() <= 4

    def test_a_watermark_keeps_blocks_free(self, profile):
        config = ReplicaConfig(16, 8, scheduling=Scheduling(watermark=0.9))
        assert simulate(profile, adapters(64, 1.0), config).kv_usage_max < 0.2


class TestServedFraction:
    def test_late_requests_are_excused_by_the_pace_alone(self):
        arrival_s, output = np.array([0.0, 80.0, 95.0]), np.array([100, 100, 100])
        assert completable(arrival_s, output, itl_mean_s=0.1, duration_s=100.0).tolist() == [
            True,
            True,
            False,
        ]

    def test_without_a_pace_everything_counts(self):
        assert completable(np.array([99.0]), np.array([9]), itl_mean_s=np.nan, duration_s=100.0).all()

    def test_nothing_offered_is_all_served(self):
        assert served_fraction(0, 0) == 1
        assert served_fraction(1, 4) == 0.25
