import json

import numpy as np
import pytest

from adapter_twin.errors import AdaptwinError, EngineConfigError, MeasurementError, ProfileError
from adapter_twin.measurements.folder import DEFAULT_FOLDER
from adapter_twin.measurements.slora_client import PROMPTS, sent_requests
from adapter_twin.measurements.tables import read_slora_runs
from adapter_twin.profile import (
    available_profiles,
    available_slora_profiles,
    load_any_profile,
    load_profile,
    profile_json,
)
from adapter_twin.profile.slora import SloraProfile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.report import Status
from adapter_twin.slora.calibration import calibrate_slora, slora_smape
from adapter_twin.slora.replica import simulate_slora
from adapter_twin.slora.runs import predict_slora_run, predict_slora_runs
from adapter_twin.workload import Adapter, Requests

NAME = "llama-2-7b-slora-h100-64gb"


@pytest.fixture(scope="module")
def profile():
    return load_any_profile(NAME)


@pytest.fixture(scope="module")
def runs():
    return read_slora_runs(DEFAULT_FOLDER / "slora_runs.csv")


@pytest.fixture(scope="module")
def by_name(runs):
    return {run.run.rpartition("/")[2]: run for run in runs}


def burst(count, adapters, prompt=100, output=50, every_s=0.01):
    owner = np.arange(count) % adapters if adapters else np.full(count, -1)
    return Requests(np.arange(count) * every_s, np.full(count, prompt), np.full(count, output), owner)


def adapters(count, rank=32):
    return [Adapter(f"a{i}", 1.0, rank) for i in range(count)]


class TestProfile:
    def test_it_is_shipped_apart_from_those_of_vllm(self):
        assert available_slora_profiles() == [NAME]
        assert NAME not in available_profiles()
        assert isinstance(load_any_profile(NAME), SloraProfile)

    def test_where_slots_are_planned_it_is_refused(self):
        with pytest.raises(ProfileError, match="is one of S-LoRA, which has no adapter slots to plan"):
            load_profile(NAME)

    def test_a_file_gives_the_same_content(self, profile, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(profile_json(profile), encoding="utf-8")
        assert load_any_profile(path).content_hash == profile.content_hash

    def test_an_error_names_the_field(self, profile, tmp_path):
        content = json.loads(profile_json(profile))
        content["engine"]["max_total_token_num"] = 0
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ProfileError, match=r"engine\.max_total_token_num: Input should be greater"):
            load_any_profile(path)

    def test_the_pool_is_read_at_the_gpus_bandwidth(self, profile):
        bandwidth = profile.model.kv_bytes_per_token / profile.step_time.per_pool_token
        assert bandwidth == pytest.approx(profile.gpu.bandwidth_bytes_per_s, rel=1e-5)


class TestReplica:
    def test_the_profile_decides_the_engine(self, profile):
        config = ReplicaConfig(max_loras=1, max_lora_rank=8)
        report = simulate_replica(profile, config, burst(90, 30), adapters(30), duration_s=60.0)
        assert report.status is Status.OK
        assert report.completed_requests == report.offered_requests == 90
        assert report.output_tokens == 90 * 50
        assert report.adapter_loads >= 30
        assert report.memory.kv_cache_tokens == profile.engine.max_total_token_num
        assert report.served_fraction == 1.0
        assert np.array_equal(report.per_adapter.completed_requests, np.full(30, 3))

    def test_limits_are_taken_from_the_configuration(self, profile):
        def simulate(**limits):
            config = ReplicaConfig(max_loras=1, max_lora_rank=8, **limits)
            return simulate_replica(profile, config, burst(90, 3), adapters(3), duration_s=60.0)

        assert simulate().timeseries.running.max() > 20
        assert simulate(max_num_seqs=4).timeseries.running.max() <= 4
        assert simulate(max_connections=10).rejected_requests > 0
        assert simulate(max_model_len=149).rejected_requests == 90

    def test_adapters_take_room_from_requests(self, profile):
        small = profile.engine.model_copy(update={"max_total_token_num": 20_000})
        requests = burst(400, 100, prompt=200, output=200, every_s=0.0)

        def most_running(rank):
            report = simulate_slora(profile, requests, adapters(100, rank), duration_s=60.0, engine=small)
            return report.timeseries.running.max()

        assert most_running(1) > 1.2 * most_running(32)

    def test_an_idle_server_answers_after_a_prefill(self, profile):
        report = simulate_slora(profile, burst(1, 1), adapters(1), duration_s=60.0)
        c = profile.step_time
        prefill_s = c.prefill_base + 100 * c.per_prefill_token + 128 * c.per_loaded_page
        ttft_s = report.ttft_s.mean - profile.front_end.request_s - prefill_s
        assert 0.0 <= ttft_s <= profile.engine.idle_poll_s
        assert report.steps == 50

    def test_the_base_model_needs_no_pages(self, profile):
        report = simulate_slora(profile, burst(5, 0), [], duration_s=60.0)
        assert report.completed_requests == 5
        assert report.adapter_loads == 0

    def test_what_is_unfinished_at_the_end_is_accounted_for(self, profile):
        report = simulate_slora(profile, burst(2000, 4), adapters(4), duration_s=10.0)
        parts = report.completed_requests + report.running_requests + report.waiting_requests
        assert parts + report.rejected_requests == report.offered_requests

    def test_unknown_adapters_are_refused(self, profile):
        with pytest.raises(EngineConfigError, match="adapter 2 is not among the 1 adapters"):
            simulate_replica(profile, ReplicaConfig(1, 8), burst(3, 3), adapters(1), duration_s=1.0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"max_total_token_num": 3100}, "max_total_token_num: 3100 is not allowed, the longest request"),
            ({"batch_max_tokens": 1000}, "batch_max_tokens: 1000 is not allowed, it must be at least"),
        ],
    )
    def test_a_server_that_would_not_start_is_refused(self, profile, arguments, message):
        engine = profile.engine.model_copy(update=arguments)
        with pytest.raises(EngineConfigError, match=message):
            simulate_slora(profile, burst(1, 1), adapters(1), duration_s=1.0, engine=engine)


class TestClient:
    def test_requests_are_those_of_1440_seconds(self):
        sent = sent_requests(3.2)
        assert sent.arrival_s.size == 4608
        assert sent.arrival_s[0] == 0.0
        assert sent.duration_s > sent.arrival_s[-1]

    def test_prompts_run_out_and_the_run_lasts_1200_seconds(self):
        sent = sent_requests(128.0)
        assert sent.arrival_s.size == PROMPTS
        assert sent.duration_s == 1200.0

    def test_it_stops_when_the_measured_client_did(self, runs):
        errors = [abs(sent_requests(run.offered_rate_rps).duration_s / run.duration_s - 1) for run in runs]
        assert max(errors) < 0.004

    def test_other_seeds_give_other_arrivals(self):
        assert sent_requests(3.2, 1).duration_s != sent_requests(3.2, 0).duration_s


class TestPredictions:
    def test_measured_runs_are_met(self, profile, runs):
        errors = slora_smape(runs, list(predict_slora_runs(profile, runs)))
        assert errors["throughput"] < 0.3
        assert max(errors["ITL"], errors["TPOT"]) < 0.6
        assert errors["TTFT"] < 3.0
        assert max(errors["batch size"], errors["active adapters"]) < 1.0

    def test_only_settings_are_read_of_a_row(self, profile, by_name):
        run = by_name["128_0.2"]
        nameless = run.model_copy(
            update=dict.fromkeys(
                ("completed", "duration_s", "input_tokens", "output_tokens", "ttft_mean_ms", "itl_mean_ms")
            )
        )
        assert predict_slora_run(profile, nameless) == predict_slora_run(profile, run)

    def test_threads_do_not_change_them(self, profile, runs):
        few = runs[:6]
        alone = list(predict_slora_runs(profile, few))
        assert list(predict_slora_runs(profile, few, threads=2)) == alone

    def test_an_overloaded_front_end_merges_chunks(self, profile, by_name):
        calm = profile.model_copy(
            update={"front_end": profile.front_end.model_copy(update={"merge_per_connection": 0.0})}
        )
        run = by_name["256_0.4"]
        merged, whole = predict_slora_run(profile, run), predict_slora_run(calm, run)
        assert merged.completed == whole.completed
        assert merged.throughput < 0.95 * whole.throughput
        assert merged.itl_s > 1.05 * whole.itl_s


class TestCalibration:
    def test_it_finds_the_coefficients_of_simulated_runs(self, profile, by_name):
        """What a known profile predicts, measured with a profile that is off by up to a third."""
        names = ("32_0.0125", "64_0.2", "192_0.025", "320_0.025", "640_0.025")
        rows = [as_measured(profile, by_name[name]) for name in names]
        scaled = {
            name: getattr(profile.step_time, name) * factor
            for name, factor in (("base", 1.1), ("per_decode", 0.7), ("per_prefill_token", 1.3))
        }
        scaled["per_pool_token"] = 1.0
        off = profile.model_copy(update={"step_time": profile.step_time.model_copy(update=scaled)})
        fitted = calibrate_slora(off, rows)
        assert fitted.step_time.base == pytest.approx(profile.step_time.base, rel=0.02)
        assert fitted.step_time.per_pool_token == profile.step_time.per_pool_token
        assert fitted.fit is not None
        assert fitted.fit.rows == 5
        assert fitted.fit.itl_smape < 0.3

    def test_other_models_are_not_fitted(self, profile, by_name):
        other = by_name["32_0.1"].model_copy(update={"model": "llama-9"})
        with pytest.raises(MeasurementError, match="no ok row for model llama-2-7b"):
            calibrate_slora(profile, [other])


def as_measured(profile, run):
    """The row that a server of this profile would have given."""
    seen = predict_slora_run(profile, run)
    chunks = seen.throughput * seen.duration_s - 250 * seen.completed
    return run.model_copy(
        update={
            "completed": seen.completed,
            "duration_s": seen.duration_s,
            "input_tokens": 250.0 * seen.completed,
            "output_tokens": chunks,
            "ttft_mean_ms": seen.ttft_s * 1e3,
            "ttft_p50_ms": seen.ttft_p50_s * 1e3,
            "tpot_mean_ms": seen.tpot_s * 1e3,
            "itl_mean_ms": seen.itl_s * 1e3,
            "batch_mean": seen.batch_size,
            "active_adapters_mean": seen.active_adapters_mean,
        }
    )


def test_a_table_without_a_column_is_refused(tmp_path):
    path = tmp_path / "slora_runs.csv"
    path.write_text("run,model,status\n", encoding="utf-8")
    with pytest.raises(AdaptwinError, match=r"slora_runs\.csv: column .*adapters"):
        read_slora_runs(path)
