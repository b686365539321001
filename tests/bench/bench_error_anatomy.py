"""Where the error against measured runs comes from.

Prints, per model: the error by regime, beside what other draws of the unknown token lengths change; the bias
by configuration; what the measured gauges contradict themselves by; and the runs with the largest errors.
First argument: take every n-th run (by default every fourth); the others: profiles (by default all shipped).
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.measurements.measures import REGIMES, smape
from adapter_twin.measurements.tables import Run
from adapter_twin.profile import Profile, available_profiles, load_profile
from adapter_twin.validation.runs import Prediction, predict_runs
from adapter_twin.validation.scores import Comparison, compare, measured_figure, predicted_figure

FOLDER = MeasurementFolder(Path(__file__).parents[1] / "data" / "measurements")
FIGURES = ("throughput", "ITL", "TPOT", "TTFT")
SEEDS = (0, 1, 2)
SCALE = {"throughput": 1.0, "ITL": 2.5, "TPOT": 2.5, "TTFT": 8.0}
"""Errors in percent that are about as bad as one another, for the list of the worst runs."""
WORST = 12


def main() -> None:
    """Take the errors of profiles apart."""
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    for profile in map(load_profile, sys.argv[2:] or available_profiles()):
        runs = [run for run in FOLDER.runs(profile.model.name) if run.status == "ok"]
        draws = [list(predict_runs(runs[::every], profile, seed=seed, threads=2)) for seed in SEEDS]
        _anatomy(profile, runs[::every], draws)


def _anatomy(profile: Profile, runs: Sequence[Run], draws: Sequence[Sequence[Prediction]]) -> None:
    mean = [Prediction.mean(of_run) for of_run in zip(*draws, strict=True)]
    single, averaged = compare(runs, draws[0]), compare(runs, mean)
    print(f"\n{profile.name}, {len(runs)} runs")
    print(f"SMAPE of one draw of lengths / of the mean of {len(draws)} / between one draw and the mean")
    for name in (*REGIMES, "all"):
        chosen = [i for i, item in enumerate(single) if name in ("all", item.regime)]
        if chosen:
            print(f"  {name:12}", *(_three(single, averaged, chosen, figure) for figure in FIGURES))
    for title, group in _groupings().items():
        _bias_by(title, group, averaged)
    _gauges(runs)
    _worst(averaged)
    sys.stdout.flush()


def _three(
    single: Sequence[Comparison], averaged: Sequence[Comparison], chosen: Sequence[int], figure: str
) -> str:
    measured = [measured_figure(single[i].run, figure) for i in chosen]
    one = [predicted_figure(single[i].prediction, figure) for i in chosen]
    mean = [predicted_figure(averaged[i].prediction, figure) for i in chosen]
    return f"{figure} {smape(one, measured):5.2f} /{smape(mean, measured):5.2f} /{smape(one, mean):5.2f};  "


def _groupings() -> dict[str, Callable[[Comparison], object]]:
    def run(item: Comparison) -> Run:
        assert isinstance(item.run, Run)
        return item.run

    return {
        "regime": lambda item: item.regime,
        "adapter_rates": lambda item: run(item).combination,
        "slots": lambda item: run(item).max_loras,
        "rank": lambda item: run(item).max_lora_rank,
        "adapters": lambda item: 64 * (item.run.adapters // 64),
    }


def _bias_by(title: str, group: Callable[[Comparison], object], items: Sequence[Comparison]) -> None:
    print(f"median error in percent by {title}")
    for value in sorted({group(item) for item in items}, key=lambda v: (isinstance(v, str), v)):
        own = [item for item in items if group(item) == value]
        cells = (f"{figure} {np.median([_error(item, figure) for item in own]):+6.1f} " for figure in FIGURES)
        print(f"  {value!s:22} {len(own):3} runs ", *cells)


def _error(item: Comparison, figure: str) -> float:
    return 100.0 * float(
        np.log(predicted_figure(item.prediction, figure) / measured_figure(item.run, figure))
    )


def _gauges(runs: Sequence[Run]) -> None:
    """Little's law on the measurements alone: running requests = tokens per second x time per token."""
    print("measured batch size over what the client's own throughput and TPOT imply (Little's law)")
    for title, chosen in (
        ("no queue", [run for run in runs if (run.waiting_mean or 0.0) < 1.0]),
        ("some queue", [run for run in runs if 1.0 <= (run.waiting_mean or 0.0) <= 1000.0]),
        ("long queue", [run for run in runs if (run.waiting_mean or 0.0) > 1000.0]),
    ):
        parts = np.array([_little(run) for run in chosen])
        if parts.size:
            low, middle, high = np.quantile(parts, [0.1, 0.5, 0.9])
            print(f"  {title:12} {parts.size:3} runs: median {middle:.2f} (tenths {low:.2f} to {high:.2f})")


def _little(run: Run) -> float:
    decoding = (run.output_tokens or 0.0) / (run.duration_s or 1.0) * (run.tpot_mean_ms or np.nan) / 1e3
    return (run.running_mean or np.nan) / decoding


def _worst(items: Sequence[Comparison]) -> None:
    print("largest errors, in percent")
    size = {id(item): max(abs(_error(item, f)) / SCALE[f] for f in FIGURES) for item in items}
    for item in sorted(items, key=lambda item: -size[id(item)])[:WORST]:
        cells = (f"{figure} {_error(item, figure):+7.1f}" for figure in FIGURES)
        print(f"  {item.run.run:70} {item.regime:11} ", *cells)


if __name__ == "__main__":
    main()
