"""Held-out accuracy: refit without one combination of rates, predict its runs; for each combination.

Every refit starts from the given profile and may move every fitted parameter. What is no run stays in it:
memory, loading times and microbenchmarks. A run's residuals depend on the profile alone, so their slopes are
computed once, at the start, and each fold leaves out the rows of its runs.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adapter_twin.calibration.fit import FitSettings, Objective, fit_closed_loop, jacobian_at
from adapter_twin.calibration.parameters import bounded_parameters, vector_of
from adapter_twin.calibration.residuals import NOISE, decode_rows
from adapter_twin.calibration.sample import fit_sample
from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.tables import Microbenchmark, Run
from adapter_twin.profile import Profile
from adapter_twin.validation.runs import Prediction, predict_runs

_SETTINGS = FitSettings(iterations=4, threads=1)
_SAMPLE_EVERY = 4
_SHORTENINGS = 3
"""Simulations of all runs that an iteration takes at most."""


def combinations(runs: Sequence[Run]) -> list[str]:
    """The folds: combinations of rates, sorted."""
    return sorted({run.combination for run in runs})


def held_out_predictions(
    profile: Profile,
    runs: Sequence[Run],
    microbenchmarks: Sequence[Microbenchmark],
    *,
    threads: int,
    progress: Callable[[float], None],
) -> list[Prediction]:
    """One prediction per run, each by a profile that was refitted without the run's combination.

    Args:
        profile: where every refit starts.
        runs: of the profile's model.
        microbenchmarks: of any model; all folds keep them.
        threads: runs, and then folds, that are worked on at the same time.
        progress: told which part of the work is done, 0 to 1.

    Raises:
        MeasurementError: all runs have the same rates.
    """
    folds = combinations(runs)
    if len(folds) == 1:
        raise MeasurementError(
            f"cross-validate: all runs of {profile.model.name} have adapter_rates {folds[0]}; "
            "leaving them out would leave nothing to fit to"
        )
    parameters = bounded_parameters(profile)
    watch = _Watch(1 + len(parameters) + len(folds) * (_SETTINGS.iterations * _SHORTENINGS + 2), progress)
    rows, sample = decode_rows(microbenchmarks, profile), fit_sample(runs, _SAMPLE_EVERY)
    whole = _Watched(sample, rows, replace(_SETTINGS, threads=threads), parameters, watch=watch)
    slopes = jacobian_at(profile, whole, vector_of(profile, parameters), whole.residuals(profile))

    def fold(combination: str) -> list[Prediction]:
        others = [run for run in sample if run.combination != combination]
        objective = _Watched(others, rows, _SETTINGS, parameters, watch=watch)
        kept = slopes[_rows_without(combination, sample, len(rows))]
        refitted = fit_closed_loop(profile, objective, lambda *_: None, slopes=kept)
        return list(predict_runs([run for run in runs if run.combination == combination], refitted))

    with ThreadPoolExecutor(threads) as pool:
        held_out = dict(zip(folds, map(iter, pool.map(fold, folds)), strict=True))
    progress(1.0)
    return [next(held_out[run.combination]) for run in runs]


def _rows_without(combination: str, sample: Sequence[Run], microbenchmarks: int) -> NDArray[np.bool_]:
    """Mask of the residuals that are left without the runs of a combination."""
    of_runs = np.repeat([run.combination != combination for run in sample], len(NOISE))
    return np.concatenate([of_runs, np.ones(microbenchmarks, bool)])


class _Watch:
    """Counts simulations of the sample, and tells which part of those that are due at most are done."""

    def __init__(self, due: int, progress: Callable[[float], None]) -> None:
        self._due, self._done, self._progress = due, 0, progress

    def tick(self) -> None:
        self._done += 1
        self._progress(min(1.0, self._done / self._due))


@dataclass(frozen=True, kw_only=True)
class _Watched(Objective):
    """An objective whose evaluations are counted."""

    watch: _Watch

    def residuals(self, profile: Profile) -> NDArray[np.float64]:
        found = super().residuals(profile)
        self.watch.tick()
        return found
