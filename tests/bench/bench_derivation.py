"""Errors of profiles that are derived from one another instead of calibrated."""

from itertools import permutations
from pathlib import Path

from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.profile import available_profiles, load_profile
from adapter_twin.profile.derivation import derive_profile
from adapter_twin.validation.memory import score_memory
from adapter_twin.validation.runs import predict_runs
from adapter_twin.validation.scores import score

FOLDER = MeasurementFolder(Path(__file__).parents[1] / "data" / "measurements")
EVERY = 6


def main() -> None:
    """Derive each shipped profile's model from each other one, and score it on the model's own runs."""
    for source, target in permutations(map(load_profile, available_profiles()), 2):
        derived = derive_profile(source, model=target.model)
        runs = FOLDER.runs(target.model.name)[::EVERY]
        scores = score(runs, list(predict_runs(runs, derived)))
        memory = score_memory(derived, FOLDER.kv_capacity(target.model.name))
        figures = ", ".join(
            f"{name} {scores.smape[name]['all']:.1f} ({scores.bias[name]['all']:+.0f}%)"
            for name in ("throughput", "ITL", "TTFT")
        )
        print(f"{target.model.name} from {source.model.name}: {figures}")
        print(
            f"  starvation F1 {scores.starvation_macro_f1:.3f}, memory verdicts {memory.oom_accuracy:.0%} "
            f"right, KV capacity within {memory.worst_percent:.2f}%"
        )


if __name__ == "__main__":
    main()
