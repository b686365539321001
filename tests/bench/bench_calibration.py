"""How well a planned set of benchmark runs calibrates a profile: the twin at one profile plays the GPU.

`python tests/bench/bench_calibration.py`: each shipped profile is derived from the other, the runs of
`adaptwin twin calibrate --plan` are rehearsed at its true coefficients with 2 % noise, and the derived one
is calibrated on them. Printed are errors of predictions for workloads that no run resembles.
"""

import tempfile
from pathlib import Path

import numpy as np

from adapter_twin.calibration.bench_fit import calibrate_on_bench
from adapter_twin.calibration.bench_serve import read_bench_results
from adapter_twin.calibration.fit import FitSettings
from adapter_twin.calibration.plan import plan_runs
from adapter_twin.calibration.rehearsal import rehearse
from adapter_twin.measurements.measures import smape
from adapter_twin.profile import Profile, load_profile
from adapter_twin.profile.derivation import derive_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, Workload, generate

LLAMA, QWEN = "llama-3.1-8b-instruct-h100-64gb", "qwen-2.5-7b-instruct-h100-64gb"
DURATION_S = 900.0
WORKLOADS = 24
NOISE_SEEDS = (1, 2, 3)


def main() -> None:
    print(f"{'GPU played by':34} {'profile':22} {'throughput':>10} {'ITL':>6} {'TTFT':>6}   SMAPE in 0-100")
    for name, source in ((QWEN, LLAMA), (LLAMA, QWEN)):
        truth = load_profile(name)
        start = derive_profile(load_profile(source), model=truth.model, gpu=truth.gpu)
        plan = plan_runs(start, lambda *_: None)
        print(f"# {len(plan.runs)} runs, {plan.expected_s / 60:.0f} minutes, {len(plan.servers)} servers")
        report(name, "derived", truth, start)
        for seed in NOISE_SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                rehearse(plan, truth, Path(folder), lambda *_: None, seed=seed)
                results = read_bench_results(Path(folder))
            found = calibrate_on_bench(start, results, FitSettings(threads=1), lambda *_: None)
            report(name, f"calibrated, noise {seed}", truth, found.profile)
            print(f"# step time said to be known within {found.step_time_error:.1%}")


def report(name: str, what: str, truth: Profile, profile: Profile) -> None:
    true, predicted = (
        np.array([figures(item, seed) for seed in range(WORKLOADS)]) for item in (truth, profile)
    )
    errors = [smape(predicted[:, i], true[:, i]) for i in range(3)]
    print(f"{name:34} {what:22} {errors[0]:10.2f} {errors[1]:6.2f} {errors[2]:6.2f}")


def figures(profile: Profile, seed: int) -> tuple[float, float, float]:
    """Throughput, ITL and TTFT of a random workload on a random replica within the planned range."""
    draw = np.random.default_rng(seed)
    slots, rank = int(draw.integers(8, 129)), int(draw.choice([8, 16, 32]))
    adapters = tuple(
        Adapter(f"a{i}", rate, 8) for i, rate in enumerate(draw.gamma(1.0, 0.06, int(draw.integers(8, 257))))
    )
    lengths = load_profile(QWEN)
    requests = generate(Workload.for_profile(lengths, adapters, DURATION_S), seed)
    config = ReplicaConfig(slots, rank, max_model_len=4096, scrape_interval_s=0.0)
    outcome = simulate_replica(profile, config, requests, adapters, duration_s=DURATION_S)
    return outcome.throughput_tokens_per_s, outcome.itl_s.mean, outcome.ttft_s.mean


if __name__ == "__main__":
    main()
