"""Timings of prediction and placement: `python tests/bench/bench_predictor.py`. Not part of the test run.

`--predictions` leaves the placements out.
"""

import itertools
import statistics
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, place
from adapter_predictor.predictor import Predictor, TreePredictor
from adapter_twin.profile import load_profile

PROFILE = "llama-3.1-8b-instruct-h100-64gb"
REPEATS = 10_000
ROWS = 100_000


def median_us(call, repeats):
    """Median microseconds of a call, after one to warm up."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e6 * statistics.median(taken)


def workload(kind, count):
    """Adapters of 0.05 requests/s on average: all alike, or by Zipf's law with three ranks."""
    if kind == "uniform":
        return [AdapterDemand(f"a{i:05d}", 0.05, 16) for i in range(count)]
    weights = 1.0 / np.arange(1, count + 1)
    rates = 0.05 * count * weights / weights.sum()
    return [AdapterDemand(f"a{i:05d}", float(rate), (8, 16, 32)[i % 3]) for i, rate in enumerate(rates)]


def main():
    """Print the table."""
    predictor = Predictor.for_profile(load_profile(PROFILE))
    if not isinstance(predictor, TreePredictor):
        raise SystemExit("no trees are shipped for this profile")
    load = ReplicaLoad(tuple((0.4, 0.05, 0.00625)[i % 3] for i in range(160)), 222.62, 194.52, 32, 32)
    x = predictor.features.vector(load)
    rows = np.tile(x, (ROWS, 1)) * np.random.default_rng(0).uniform(0.5, 1.5, size=(ROWS, 1))
    batch = LoadBatch.of([load] * 1000)
    vectors = itertools.cycle(rows[:1000])
    one_us = median_us(lambda: predictor.target_one("served_fraction", next(vectors)), 2 * REPEATS)
    vector_us = median_us(lambda: predictor.features.vector(load), REPEATS)
    all_us = median_us(lambda: predictor.predict(load), REPEATS)
    row_us = median_us(lambda: predictor.target("served_fraction", rows), 20) / ROWS
    batch_us = median_us(lambda: predictor.predict_batch(batch), 20) / 1000
    table = Table("what", "median")
    table.add_row("one prediction: a feature vector to one target", f"{one_us:.2f} µs")
    table.add_row("the features of one load of 160 adapters", f"{vector_us:.0f} µs")
    table.add_row("one load to all targets, features included", f"{all_us:.0f} µs")
    table.add_row(f"one of {ROWS:,} rows to one target", f"{row_us:.3f} µs")
    table.add_row("one of 1,000 loads to all targets", f"{batch_us:.1f} µs")
    for kind in () if "--predictions" in sys.argv else ("uniform", "zipf"):
        for count in (1_000, 10_000):
            demands = workload(kind, count)
            start = time.perf_counter()
            found = place(demands, predictor, Objectives(), Limits(max_replicas=10_000))
            seconds = time.perf_counter() - start
            gpus = f"{found.plan.replicas} GPUs, bound {found.lower_bound.gpus}"
            table.add_row(f"placement, {count:,} adapters, {kind} ({gpus})", f"{seconds:.2f} s")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
