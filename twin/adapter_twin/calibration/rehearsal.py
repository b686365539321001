"""A plan's runs made by the twin instead of a GPU: to try a calibration before paying for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from adapter_twin.calibration.bench_runs import BenchFigures, BenchRun, simulate_bench
from adapter_twin.calibration.fit import Progress
from adapter_twin.calibration.plan import MAX_MODEL_LEN, PlannedRun, RunPlan, planned_bench
from adapter_twin.errors import MeasurementError
from adapter_twin.memory import memory_verdict
from adapter_twin.profile import Profile
from adapter_twin.workload.random_streams import stream


def rehearse(
    plan: RunPlan, truth: Profile, folder: Path, progress: Progress, *, noise: float = 0.02, seed: int = 1
) -> None:
    """Write the result files that the plan's runs would leave, were `truth` the GPU.

    Args:
        plan: the runs.
        truth: what the twin simulates.
        folder: where they go; it must be empty or not exist.
        progress: told what is being done.
        noise: relative scatter of every figure, lognormal.
        seed: of the scatter, of lengths and of adapters; other than what calibration draws.

    Raises:
        MeasurementError: the folder holds something, or a run would not start.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MeasurementError(f"rehearse: {folder} is not an empty folder")
    contents = {}
    for number, run in enumerate(plan.runs, start=1):
        progress(run.name, (number - 1) / len(plan.runs))
        contents[f"{number:02d}-{run.name}.json"] = _result(run, truth, noise, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    progress("done", 1.0)


def _result(run: PlannedRun, truth: Profile, noise: float, seed: int) -> dict[str, Any]:
    bench = planned_bench(run, seed)
    figures = simulate_bench(bench, truth)
    if not np.isfinite(figures.duration_s):
        raise MeasurementError(f"rehearse: {run.name} does not fit {truth.gpu.name}")
    scatter = np.exp(noise * stream(seed, "rehearsal noise", run.name).standard_normal(3))
    return _traffic(run, bench) | _seen(bench, figures, scatter) | _metadata(run, truth)


def _traffic(run: PlannedRun, bench: BenchRun) -> dict[str, Any]:
    return {
        "date": "20260101-000000",
        "backend": "openai",
        "label": "rehearsal",
        "model_id": "rehearsal",
        "num_prompts": run.prompts,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": run.max_concurrency,
        "input_lens": bench.requests.prompt_tokens.tolist(),
        "output_lens": bench.requests.output_tokens.tolist(),
    }


def _seen(bench: BenchRun, figures: BenchFigures, scatter: np.ndarray) -> dict[str, Any]:
    requests = bench.requests
    return {
        "duration": figures.duration_s * scatter[0],
        "completed": requests.count,
        "total_input_tokens": int(requests.prompt_tokens.sum()),
        "total_output_tokens": int(requests.output_tokens.sum()),
        "mean_ttft_ms": 1e3 * figures.ttft_s * scatter[1],
        "mean_tpot_ms": 1e3 * figures.tpot_s * scatter[2],
        "mean_itl_ms": 1e3 * figures.tpot_s * scatter[2],
    }


def _metadata(run: PlannedRun, truth: Profile) -> dict[str, str]:
    server = run.server
    verdict = memory_verdict(truth, server.max_loras, server.max_lora_rank, max_model_len=MAX_MODEL_LEN)
    pairs = {
        "max_loras": server.max_loras,
        "max_lora_rank": server.max_lora_rank,
        "adapters": run.adapters,
        "max_model_len": MAX_MODEL_LEN,
        "kv_cache_tokens": verdict.kv_cache_tokens,
        "profile_model": truth.model.name,
        "profile_gpu": truth.gpu.name,
        "vllm_version": truth.engine.version,
    }
    return {key: str(value) for key, value in pairs.items()}
