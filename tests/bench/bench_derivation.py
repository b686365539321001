"""Errors of profiles that are derived from one another instead of calibrated."""

import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.profile import available_profiles, load_profile
from adapter_twin.profile.derivation import derive_profile
from adapter_twin.validation.memory import score_memory
from adapter_twin.validation.runs import predict_runs
from adapter_twin.validation.scores import Comparison, compare, score, score_by_regime

FOLDER = MeasurementFolder(Path(__file__).parents[1] / "data" / "measurements")
FIGURES = ("throughput", "ITL", "TPOT", "TTFT")


def main() -> None:
    """Derive each shipped profile's model from each other one, and score it on every n-th of its own runs."""
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    for source, target in permutations(map(load_profile, available_profiles()), 2):
        derived = derive_profile(source, model=target.model)
        runs = FOLDER.runs(target.model.name)[::every]
        comparisons = compare(runs, list(predict_runs(runs, derived)))
        memory = score_memory(derived, FOLDER.kv_capacity(target.model.name))
        print(f"{target.model.name} from {source.model.name}:")
        for name, scores in {**score_by_regime(comparisons), "all": score(comparisons)}.items():
            errors = ", ".join(f"{f} {scores.smape[f]:.1f} ({scores.bias[f]:+.0f}%)" for f in FIGURES)
            print(f"  {name:12} {scores.ok:3} runs: {errors}")
        print(
            f"  starvation F1 {score(comparisons).starvation_macro_f1:.3f}, memory verdicts "
            f"{memory.oom_accuracy:.0%} right, KV capacity within {memory.worst_percent:.2f}%",
            flush=True,
        )
        most = _promised_too_much(comparisons)
        print(f"  throughput is promised too high by at most {most:.0f}% in 95% of runs")


def _promised_too_much(comparisons: Sequence[Comparison]) -> float:
    """What a plan's margin has to cover, in percent."""
    ratios = [item.prediction.throughput / item.run.throughput for item in comparisons if item.ok]
    return 100.0 * float(np.nanquantile(ratios, 0.95) - 1.0)


if __name__ == "__main__":
    main()
