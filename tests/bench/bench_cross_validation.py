"""Held-out accuracy: refit without one combination of rates, predict its runs, for each of the six.

Every refit starts from the shipped profile and may move every fitted parameter. It takes about a quarter of
an hour of one core per profile.
"""

import sys
from pathlib import Path

from adapter_twin.calibration.calibrate import FIT_RATE_LIMIT_RPS
from adapter_twin.calibration.fit import FitSettings, Objective, fit_closed_loop
from adapter_twin.calibration.residuals import decode_rows
from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.measurements.measures import REGIMES
from adapter_twin.measurements.tables import Run
from adapter_twin.profile import Profile, available_profiles, load_profile
from adapter_twin.validation.runs import Prediction, predict_runs
from adapter_twin.validation.scores import FIGURES, score

FOLDER = MeasurementFolder(Path(__file__).parents[1] / "data" / "measurements")
EVERY = 5
SETTINGS = FitSettings(iterations=2, threads=1)


def main() -> None:
    """Cross-validate the profiles named on the command line, or all shipped ones."""
    for profile in map(load_profile, sys.argv[1:] or available_profiles()):
        runs = FOLDER.runs(profile.model.name)
        held_out: dict[str, Prediction] = {}
        for combination in sorted({run.combination for run in runs}):
            held_out |= _predict_without(profile, runs, combination)
        scores = score(runs, [held_out[run.run] for run in runs])
        print(f"{profile.name}: held-out SMAPE, by regime and over all")
        for figure in FIGURES:
            cells = (f"{scores.smape[figure][name]:6.2f}" for name in (*REGIMES, "all"))
            print(f"  {figure:12}", *cells)
        print(f"  starvation macro-F1 {scores.starvation_macro_f1:.3f}", flush=True)


def _predict_without(profile: Profile, runs: list[Run], combination: str) -> dict[str, Prediction]:
    """Predictions of a combination's runs by a profile that was refitted without them."""
    others = [
        run
        for run in runs
        if run.combination != combination
        and run.status == "ok"
        and run.offered_rate_rps <= FIT_RATE_LIMIT_RPS
    ]
    rows = decode_rows(FOLDER.microbenchmarks(), profile)
    refitted = fit_closed_loop(profile, Objective(others[::EVERY], rows, SETTINGS), lambda *_: None)
    held_out = [run for run in runs if run.combination == combination]
    print(f"{profile.name}: refitted without {combination}", file=sys.stderr, flush=True)
    return dict(zip((run.run for run in held_out), predict_runs(held_out, refitted), strict=True))


if __name__ == "__main__":
    main()
