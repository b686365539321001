"""Results of vllm bench serve: read with clear errors, simulated as the client ran, and calibrated on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from adapter_twin.calibration.bench_fit import BenchObjective, calibrate_on_bench, validity_of
from adapter_twin.calibration.bench_runs import bench_run, measured_figures, simulate_bench
from adapter_twin.calibration.bench_serve import read_bench_results
from adapter_twin.calibration.fit import FitSettings
from adapter_twin.calibration.identifiability import Verdict
from adapter_twin.calibration.plan import PlannedRun, RunPlan, Server
from adapter_twin.calibration.rehearsal import rehearse
from adapter_twin.errors import MeasurementError
from adapter_twin.profile import load_profile
from adapter_twin.profile.derivation import derive_profile

LLAMA, QWEN = "llama-3.1-8b-instruct-h100-64gb", "qwen-2.5-7b-instruct-h100-64gb"
RESULT = {
    "date": "20260101-120000",
    "backend": "openai",
    "endpoint_type": "openai",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 4,
    "max_loras": "8",
    "max_lora_rank": "16",
    "adapters": "2",
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": None,
    "duration": 2.0,
    "completed": 4,
    "total_input_tokens": 40,
    "total_output_tokens": 80,
    "request_throughput": 2.0,
    "mean_ttft_ms": 30.0,
    "mean_tpot_ms": 12.0,
    "mean_itl_ms": 12.0,
    "something_new": [1, 2],
}
DETAIL = {"input_lens": [8, 12, 10, 10], "output_lens": [10, 30, 20, 20], "start_times": [7.5, 7.0, 8.0, 9.0]}


def write(folder, name="a.json", **changes):
    content = {key: value for key, value in (RESULT | changes).items() if value is not ...}
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def read_one(folder, **changes):
    write(folder, **changes)
    return read_bench_results(folder)[0]


def test_a_result_is_read_with_its_metadata_as_numbers(tmp_path):
    result = read_one(tmp_path, kv_cache_tokens="250000", gpu_memory_utilization="0.85")
    assert (result.max_loras, result.max_lora_rank, result.adapters) == (8, 16, 2)
    assert np.isinf(result.request_rate)
    assert result.kv_cache_tokens == 250_000
    assert result.gpu_memory_utilization == 0.85
    assert result.throughput_tokens_per_s == 60.0
    assert not result.detailed


def test_files_are_read_in_order_and_appended_results_line_by_line(tmp_path):
    write(tmp_path, "b.json", duration=3.0)
    appended = "\n".join(json.dumps(RESULT | {"duration": d}) for d in (1.0, 2.0))
    (tmp_path / "a.json").write_text(appended, encoding="utf-8")
    (tmp_path / "a.pytorch.json").write_text("[]", encoding="utf-8")
    (tmp_path / "serve.log").write_text("log", encoding="utf-8")
    assert [result.duration for result in read_bench_results(tmp_path)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_loras": ...}, r"a\.json: max_loras: missing; say it with --metadata max_loras=VALUE"),
        ({"adapters": ...}, r"a\.json: adapters: missing; say it with --metadata"),
        ({"max_lora_rank": ...}, r"a\.json: max_lora_rank: missing; say it with --metadata"),
        ({"max_loras": "many"}, r"a\.json: max_loras: Input should be a valid integer"),
        ({"max_loras": "0"}, r"a\.json: adapters: requests for adapters need max_loras"),
        ({"mean_ttft_ms": ...}, r"a\.json: mean_ttft_ms: missing$"),
        ({"duration": -1}, r"a\.json: duration: Input should be greater than 0"),
        ({"completed": 3}, r"a\.json: completed: 3 of 4 prompts only"),
        ({"input_lens": [1, 2]}, r"a\.json: input_lens: 2 entries for num_prompts 4"),
        ({"ramp_up_strategy": "linear"}, r"a\.json: ramp_up_strategy: a run whose rate changes"),
    ],
)
def test_a_result_that_cannot_be_used_is_named_by_file_and_key(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(MeasurementError, match=message):
        read_bench_results(tmp_path)


def test_folders_and_files_without_results_are_errors(tmp_path):
    with pytest.raises(MeasurementError, match="there is no folder"):
        read_bench_results(tmp_path / "none")
    with pytest.raises(MeasurementError, match="holds no result"):
        read_bench_results(tmp_path)
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(MeasurementError, match=r"cannot read .*a\.json"):
        read_bench_results(tmp_path)
    (tmp_path / "a.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(MeasurementError, match=r"a\.json: not a result"):
        read_bench_results(tmp_path)


def test_the_clients_own_times_and_lengths_are_used_where_it_wrote_them_down(tmp_path):
    run = bench_run(read_one(tmp_path, **DETAIL))
    assert run.requests.arrival_s.tolist() == [0.0, 0.5, 1.0, 2.0]
    assert run.requests.prompt_tokens.tolist() == [12, 8, 10, 10]
    assert run.requests.output_tokens.tolist() == [30, 10, 20, 20]
    assert set(run.requests.adapter.tolist()) <= {0, 1}
    assert run.config.scrape_interval_s == 0.0


def test_an_unanswered_request_is_left_out(tmp_path):
    lengths = {"input_lens": [8] * 100, "output_lens": [10] * 99 + [0], "num_prompts": 100, "completed": 99}
    assert bench_run(read_one(tmp_path, **lengths)).requests.count == 99


def test_without_detail_lengths_are_the_means_and_arrivals_are_drawn(tmp_path):
    result = read_one(tmp_path, request_rate=0.5, burstiness=0.7)
    requests = bench_run(result).requests
    assert requests.prompt_tokens.tolist() == [10] * 4
    assert requests.output_tokens.tolist() == [20] * 4
    assert requests.arrival_s[-1] == pytest.approx(8.0)
    assert requests.arrival_s.tolist() == bench_run(result).requests.arrival_s.tolist()


def test_a_limit_on_concurrency_is_a_closed_loop(tmp_path):
    profile = load_profile(LLAMA)
    one, all_at_once = (
        simulate_bench(bench_run(read_one(tmp_path, max_concurrency=limit, **DETAIL)), profile)
        for limit in (1, None)
    )
    assert one.ttft_s < 0.05
    assert one.duration_s > 80 * profile.step_time.base
    assert all_at_once.duration_s < one.duration_s + 2.0


SERVERS = (Server(0, 8), Server(8, 8), Server(32, 32))
SHAPES = ((1, 64, 128), (32, 512, 8), (64, 64, 64))


@pytest.fixture(scope="module")
def truth():
    return load_profile(QWEN)


@pytest.fixture(scope="module")
def start(truth):
    return derive_profile(load_profile(LLAMA), model=truth.model, gpu=truth.gpu)


@pytest.fixture(scope="module")
def calibration(truth, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsed") / "results"
    runs = tuple(
        PlannedRun(server, min(server.max_loras, concurrency), concurrency, prompt, output, 6 * concurrency)
        for server in SERVERS
        for concurrency, prompt, output in SHAPES
    )
    rehearse(RunPlan(start, runs, 0.0), truth, folder, lambda *_: None, noise=0.01)
    results = read_bench_results(folder)
    return calibrate_on_bench(start, results, FitSettings(iterations=4, threads=1), lambda *_: None)


def test_calibration_recovers_another_model_from_a_derived_start(truth, start, calibration):
    held_out = [
        bench_run(replace_result(result, max_concurrency=16, max_loras=slots, max_lora_rank=16))
        for result, slots in ((calibration.results[5], 8), (calibration.results[8], 32))
    ]
    for run in held_out:
        true, before, after = (simulate_bench(run, p) for p in (truth, start, calibration.profile))
        errors = [abs(np.log(figures.tpot_s / true.tpot_s)) for figures in (before, after)]
        assert errors[1] < 0.04
        assert errors[1] < errors[0]
        assert after.throughput == pytest.approx(true.throughput, rel=0.04)


def replace_result(result, **changes):
    return result.model_copy(update=changes)


def test_calibration_meets_the_memory_that_the_results_tell(truth, start, calibration):
    assert start.allocator.fixed_bytes != truth.allocator.fixed_bytes
    block = 16 * truth.model.kv_bytes_per_token
    assert abs(calibration.profile.allocator.fixed_bytes - truth.allocator.fixed_bytes) < 2 * block


def test_a_calibrated_profile_says_what_it_is(start, calibration):
    profile = calibration.profile
    assert profile.origin == "calibrated"
    assert profile.name == start.name
    assert 0 < profile.safety_margin_percent < start.safety_margin_percent
    assert profile.fit.rows == len(SERVERS) * len(SHAPES)
    assert profile.fit.throughput_smape < 1.5
    assert profile.validity.max_loras == (8, 32)
    assert profile.validity.max_lora_rank == (8, 32)
    assert profile.validity.adapters == (1, 32)


def test_what_the_runs_do_not_show_keeps_its_value(start, calibration):
    found = {coefficient.name: coefficient for coefficient in calibration.identifiability.coefficients}
    assert found["base"].verdict is Verdict.IDENTIFIED
    assert found["per_waiting"].verdict is Verdict.KEPT
    assert found["per_waiting"].value == pytest.approx(start.step_time.per_waiting, rel=0.05)
    assert found["cpu_to_gpu_base_s"].verdict is Verdict.KEPT
    assert calibration.profile.loading.cpu_to_gpu_base_s == pytest.approx(start.loading.cpu_to_gpu_base_s)
    assert calibration.profile.front_end.render_per_label_set_s == start.front_end.render_per_label_set_s


def test_runs_without_adapters_leave_lora_alone_and_say_so(start, calibration):
    base = [result for result in calibration.results if not result.adapters]
    found = calibrate_on_bench(start, base, FitSettings(iterations=2, threads=1), lambda *_: None)
    assert any("no run has adapters" in note for note in found.notes)
    assert any("kv_cache_tokens" in note for note in found.notes)
    fitted, given = found.profile.step_time, start.step_time
    for name in (name for name in type(given).model_fields if "lora" in name):
        assert getattr(fitted, name) == pytest.approx(getattr(given, name), rel=1e-3)
        assert name in found.identifiability.named(Verdict.KEPT)
    assert found.profile.validity.max_loras == start.validity.max_loras
    assert found.step_time_error > calibration.step_time_error


def test_too_few_results_or_those_of_another_machine_are_refused(start, calibration):
    settings = FitSettings(iterations=1, threads=1)
    with pytest.raises(MeasurementError, match="2 are too few"):
        calibrate_on_bench(start, calibration.results[:2], settings, lambda *_: None)
    other = [replace_result(result, profile_gpu="A100-40GB") for result in calibration.results]
    with pytest.raises(MeasurementError, match="profile_gpu: A100-40GB, but the profile is of H100-64GB"):
        calibrate_on_bench(start, other, settings, lambda *_: None)


def test_a_run_that_the_twin_thinks_impossible_counts_as_bad_not_as_an_error(start, calibration):
    result = replace_result(calibration.results[0], max_model_len=10**9)
    objective = BenchObjective([bench_run(result)], [measured_figures(result)], FitSettings(threads=1))
    assert (np.abs(objective.residuals(start)) >= 10).all()


def test_validity_is_that_of_the_results(calibration):
    start = calibration.profile.validity
    some = [replace_result(result, duration=100.0) for result in calibration.results if result.max_loras == 8]
    validity = validity_of(some, start)
    assert validity.max_loras == (8, 8)
    assert validity.offered_rate_rps == (0.06, 3.84)


def test_a_rehearsal_does_not_touch_a_folder_with_something_in_it(truth, start, tmp_path):
    (tmp_path / "mine.json").write_text("{}", encoding="utf-8")
    with pytest.raises(MeasurementError, match="is not an empty folder"):
        rehearse(RunPlan(start, (), 0.0), truth, tmp_path, lambda *_: None)
    huge = replace(PlannedRun(SERVERS[1], 1, 1, 8, 8, 1), server=Server(4096, 256))
    with pytest.raises(MeasurementError, match="does not fit"):
        rehearse(RunPlan(start, (huge,), 0.0), truth, tmp_path / "new", lambda *_: None)
    assert not (tmp_path / "new").exists()
