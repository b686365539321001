"""How fast the twin is: `python tests/bench/bench_twin.py`. Figures are printed, never asserted.

Times are of one core's work, so that other work on the machine matters less.
"""

import argparse
import statistics
import time

from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, Workload, generate

HOUR_S = 3600.0


def timed(run, repetitions):
    """Median seconds, and the first: it compiles, or loads what was compiled."""
    taken = []
    for _ in range(repetitions):
        start = time.process_time()
        result = run()
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:]), taken[0], result


def saturated_hour(profile, repetitions):
    rates = (0.1, 0.05, 0.025)
    adapters = [Adapter(f"a{i}", rates[i % 3], 8) for i in range(384)]
    workload = Workload.for_profile(profile, adapters, HOUR_S)
    generating_s, _, requests = timed(lambda: generate(workload, 0), repetitions)
    run = lambda: simulate_replica(profile, ReplicaConfig(128, 8), requests, adapters, duration_s=HOUR_S)  # noqa: E731
    running_s, first_s, report = timed(run, repetitions)
    print(f"{profile.name}: an hour of 384 adapters, {requests.count / HOUR_S:.1f} requests/s, 128 slots")
    print(f"  generate {requests.count:,} requests: {1000 * generating_s:.1f} ms")
    print(
        f"  simulate {report.steps:,} steps: {1000 * running_s:.1f} ms, {HOUR_S / running_s:,.0f} × real time"
    )
    print(f"  first call (compiled or from the cache): {first_s:.2f} s")


def measured_runs(profile, every):
    from adapter_twin.measurements.folder import DEFAULT_FOLDER, MeasurementFolder
    from adapter_twin.validation.runs import predict_runs

    runs = [
        run for run in MeasurementFolder(DEFAULT_FOLDER).runs(profile.model.name) if run.set == "validation"
    ]
    taken = []
    list(predict_runs(runs[:1], profile, "measured", 0, 1))
    for run in runs[::every]:
        start = time.process_time()
        list(predict_runs([run], profile, "measured", 0, 1))
        taken.append(time.process_time() - start)
    print(f"{profile.name}: {len(taken)} validation runs, arrivals and lengths included")
    print(f"  median {1000 * statistics.median(taken):.1f} ms, most {1000 * max(taken):.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--every", type=int, default=5, help="take every n-th validation run")
    arguments = parser.parse_args()
    for name in ("llama-3.1-8b-instruct-h100-64gb", "qwen-2.5-7b-instruct-h100-64gb"):
        saturated_hour(load_profile(name), arguments.repetitions)
        measured_runs(load_profile(name), arguments.every)
