"""How fast the twin is: `python tests/bench/bench_twin.py`. Figures are printed beside goals, never asserted.

Times are of one core's work (process time), so that other work on the machine matters less; only what needs
several threads or processes is timed by the clock on the wall. The last line is the time of a fixed piece of
Python in the same run, for comparison between machines.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table

from adapter_twin.measurements.arrivals import (
    MEASURED_DURATION_S,
    MEASURED_SCRAPE_INTERVAL_S,
    measured_arrivals,
)
from adapter_twin.measurements.folder import DEFAULT_FOLDER, MeasurementFolder
from adapter_twin.profile import available_slora_profiles, load_any_profile, load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.validation.runs import adapters_of
from adapter_twin.workload import Adapter, Requests, Workload, generate, generate_lengths

HOUR_S = 3600.0
PROFILES = ("llama-3.1-8b-instruct-h100-64gb", "qwen-2.5-7b-instruct-h100-64gb")
RATES = (0.1, 0.05, 0.025)
STAGES = ("arrivals", "lengths", "prepare and report", "engine")


@dataclass
class Stopwatch:
    """Core seconds since it was last looked at."""

    last_s: float = 0.0

    def lap(self):
        now = time.process_time()
        lap_s, self.last_s = now - self.last_s, now
        return lap_s


def reference_s():
    """Core seconds of a fixed piece of Python."""
    watch = Stopwatch()
    watch.lap()
    sum(i * i for i in range(1_000_000))
    return watch.lap()


def median_s(run, repetitions):
    run()
    watch, laps = Stopwatch(), []
    for _ in range(repetitions):
        watch.lap()
        run()
        laps.append(watch.lap())
    return statistics.median(laps)


def hour(profile, adapters=384, scale=1.0, duration_s=HOUR_S):
    rates = [scale * RATES[i % 3] for i in range(adapters)]
    served = [Adapter(f"a{i}", rate, 8) for i, rate in enumerate(rates)]
    return served, generate(Workload.for_profile(profile, served, duration_s), 0)


def simulation(profile, config, requests, served):
    return partial(simulate_replica, profile, config, requests, served, duration_s=HOUR_S)


def saturated_hour(repetitions):
    """The hour of 384 adapters at 22.4 requests/s with 128 slots."""
    rows = []
    for name in PROFILES:
        profile = load_profile(name)
        served, requests = hour(profile)
        taken = median_s(simulation(profile, ReplicaConfig(128, 8), requests, served), repetitions)
        drawn = median_s(partial(hour, profile), repetitions)
        rows.append(
            {"profile": name, "simulate_s": taken, "draw_s": drawn, "times_real_time": HOUR_S / taken}
        )
    return rows


def staged(run, profile):
    """Core seconds of each stage of one measured run, from its row to its report."""
    measured_arrivals.cache_clear()
    engine_s = []

    @contextmanager
    def timed(_now):
        start = time.process_time()
        yield
        engine_s.append(time.process_time() - start)

    watch = Stopwatch()
    watch.lap()
    arrival_s, owner = measured_arrivals(run.adapter_rates, run.adapters)
    arrivals = watch.lap()
    served = adapters_of(run)
    workload = Workload.for_profile(profile, served, MEASURED_DURATION_S)
    prompt, output = generate_lengths(workload, arrival_s.size, 0)
    lengths = watch.lap()
    config = ReplicaConfig(run.max_loras, run.max_lora_rank, scrape_interval_s=MEASURED_SCRAPE_INTERVAL_S)
    requests = Requests(arrival_s, prompt, output, owner)
    simulate_replica(profile, config, requests, served, duration_s=MEASURED_DURATION_S, during=timed)
    rest = watch.lap()
    engine = sum(engine_s)
    return (arrivals, lengths, rest - engine, engine) if engine_s else None


def validation_runs(every):
    """Stages of every n-th `validation` run that starts, with how many requests it had."""
    rows = []
    for name in PROFILES:
        profile = load_profile(name)
        runs = [
            run
            for run in MeasurementFolder(DEFAULT_FOLDER).runs(profile.model.name)
            if run.set == "validation"
        ]
        staged(runs[0], profile)
        rows += [stages for run in runs[::every] if (stages := staged(run, profile)) is not None]
    return rows


def spread():
    """Simulated hours per second over configurations of both engines."""
    rows = []
    for name in (*PROFILES, *available_slora_profiles()):
        profile = load_any_profile(name)
        for adapters, total in ((16, 1.0), (96, 5.6), (384, 22.4), (768, 22.4)):
            for slots in (8, 64, 384) if name in PROFILES else (0,):
                served, requests = hour(profile, adapters, total * 3 / (sum(RATES) * adapters))
                config = ReplicaConfig(slots or 1, 8)
                taken = median_s(simulation(profile, config, requests, served), 1)
                rows.append(
                    {
                        "profile": name,
                        "adapters": adapters,
                        "requests_per_s": total,
                        "slots": slots,
                        "hours_per_s": 1 / taken,
                    }
                )
    return rows


def threads():
    """Simulated hours per second on the wall, by number of threads."""
    profile = load_profile(PROFILES[0])
    served, requests = hour(profile)
    simulate = simulation(profile, ReplicaConfig(128, 8), requests, served)
    simulate()
    rows = []
    for count in (1, 2):
        with ThreadPoolExecutor(count) as pool:
            start = time.perf_counter()
            list(pool.map(lambda _: simulate(), range(16)))
            rows.append({"threads": count, "hours_per_s": 16 / (time.perf_counter() - start)})
    return rows


MEMORY = """
import sys
from pathlib import Path
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, Workload, generate
profile = load_profile("llama-3.1-8b-instruct-h100-64gb")
served = [Adapter(f"a{i}", (0.1, 0.05, 0.025)[i % 3], 8) for i in range(384)]
def run(duration_s):
    requests = generate(Workload.for_profile(profile, served, duration_s), 0)
    simulate_replica(profile, ReplicaConfig(128, 8), requests, served, duration_s=duration_s)
    return requests.count
def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
run(60.0)
before = most()
count = run(float(sys.argv[1]))
print(count, most() - before)
"""

FIRST_CALL = """
import time
start = time.perf_counter()
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, Workload, generate
imported = time.perf_counter()
profile = load_profile("llama-3.1-8b-instruct-h100-64gb")
served = [Adapter("a", 1.0, 8)]
requests = generate(Workload.for_profile(profile, served, 60.0), 0)
simulate_replica(profile, ReplicaConfig(1, 8), requests, served, duration_s=60.0)
print(imported - start, time.perf_counter() - imported)
"""


def _figures(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return [float(word) for word in done.stdout.split()]


def memory():
    """Bytes that a process grows by, for simulations of different length (on Linux): the requests' own."""
    rows = []
    for hours in (1, 4, 16):
        count, grown = _figures(MEMORY, str(hours * HOUR_S))
        rows.append({"hours": hours, "requests": count, "bytes": grown, "bytes_per_request": grown / count})
    return rows


def cold_start():
    """Seconds on the wall until a first minute is simulated, without and with numba's cache."""
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for cache in ("empty", "warm"):
            imported, called = _figures(FIRST_CALL, NUMBA_CACHE_DIR=folder)
            rows.append({"cache": cache, "import_s": imported, "first_call_s": called})
    return rows


def _table(console, title, *columns):
    def add(rows):
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)

    return add


def show(console, figures):
    _table(
        console,
        "An hour of 384 adapters, 22.4 requests/s, 128 slots; the papers' twin: 26.3 s",
        "profile",
        "simulate (goal 130 ms)",
        "draw requests",
        "times real time",
    )(
        (
            row["profile"],
            f"{1e3 * row['simulate_s']:.0f} ms",
            f"{1e3 * row['draw_s']:.0f} ms",
            f"{row['times_real_time']:,.0f}",
        )
        for row in figures["saturated_hour"]
    )
    runs = figures["validation_runs"]
    totals = [sum(stages) for stages in runs]
    _table(
        console,
        f"{len(runs)} validation runs, arrivals and lengths included; the papers' twin: median 11 s",
        "stage",
        "median",
        "most",
    )(
        [
            *(
                (name, f"{1e3 * statistics.median(column):.1f} ms", f"{1e3 * max(column):.1f} ms")
                for name, column in zip(STAGES, zip(*runs, strict=True), strict=True)
            ),
            ("all (goal 55 ms)", f"{1e3 * statistics.median(totals):.1f} ms", f"{1e3 * max(totals):.1f} ms"),
        ]
    )
    _table(
        console,
        "Simulated hours per second of one core",
        "profile",
        "adapters",
        "requests/s",
        "slots",
        "hours/s",
    )(
        (
            row["profile"],
            str(row["adapters"]),
            f"{row['requests_per_s']:g}",
            str(row["slots"] or "–"),
            f"{row['hours_per_s']:,.1f}",
        )
        for row in figures["spread"]
    )
    _table(console, "The saturated hour in threads", "threads", "hours/s on the wall")(
        (str(row["threads"]), f"{row['hours_per_s']:.1f}") for row in figures["threads"]
    )
    _table(console, "Memory of the saturated replica", "hours", "requests", "grown by", "per request")(
        (
            str(row["hours"]),
            f"{row['requests']:,.0f}",
            f"{row['bytes'] / 2**20:.0f} MiB",
            f"{row['bytes_per_request']:.0f} bytes",
        )
        for row in figures["memory"]
    )
    if "cold_start" in figures:
        _table(console, "A new process", "numba's cache", "imports", "first simulation")(
            (row["cache"], f"{row['import_s']:.2f} s", f"{row['first_call_s']:.2f} s")
            for row in figures["cold_start"]
        )
    console.print(
        f"Reference in the same run: a million squares in Python took {1e3 * figures['reference_s']:.0f} ms."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--every", type=int, default=5, help="take every n-th validation run")
    parser.add_argument("--cold", action="store_true", help="also compile anew, which takes a minute")
    parser.add_argument("--json", action="store_true", help="figures for machines, in seconds")
    arguments = parser.parse_args()
    figures = {
        "reference_s": min(reference_s() for _ in range(5)),
        "saturated_hour": saturated_hour(arguments.repetitions),
        "validation_runs": validation_runs(arguments.every),
        "spread": spread(),
        "threads": threads(),
        "memory": memory(),
    }
    if arguments.cold:
        figures["cold_start"] = cold_start()
    if arguments.json:
        print(json.dumps(figures))
    else:
        show(Console(), figures)


if __name__ == "__main__":
    main()
