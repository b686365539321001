"""The whole calibration of a profile, one stage after another."""

from adapter_twin.calibration.fit import FitSettings, Objective, Progress, fit_closed_loop, jacobian_at
from adapter_twin.calibration.identifiability import Identifiability, identify
from adapter_twin.calibration.parameters import PARAMETERS, bounded_parameters, vector_of
from adapter_twin.calibration.physical import fit_fixed_bytes, fit_length_means, fit_loading
from adapter_twin.calibration.residuals import decode_rows
from adapter_twin.calibration.sample import fit_sample
from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.measurements.tables import Run
from adapter_twin.profile import FitReport, Profile, ValidityRange
from adapter_twin.validation.runs import predict_runs
from adapter_twin.validation.scores import compare, score


def calibrate_profile(
    start: Profile, folder: MeasurementFolder, settings: FitSettings, *, every: int, progress: Progress
) -> Profile:
    """Fit memory, loading, mean lengths, and then step time and length spreads in closed loop.

    Args:
        start: geometry, GPU, engine defaults, and the values to begin with.
        folder: the tables.
        settings: of the closed-loop fit.
        every: fit the closed loop on every n-th run; the report is on all.
        progress: told what is being done.
    """
    runs = folder.runs(start.model.name)
    if not any(run.status == "ok" for run in runs):
        raise MeasurementError(f"runs: no ok row for model {start.model.name}")
    open_loop = fit_length_means(
        fit_loading(fit_fixed_bytes(start, folder.kv_capacity(start.model.name)), folder.adapter_loading()),
        runs,
    )
    fitted = fit_closed_loop(open_loop, _objective(open_loop, folder, settings, every), progress)
    return fitted.model_copy(update={"validity": _validity(runs), "fit": _report(fitted, runs, settings)})


def identify_on_tables(
    start: Profile, fitted: Profile, folder: MeasurementFolder, settings: FitSettings, *, every: int
) -> Identifiability:
    """What the runs of the fit say of each parameter; it takes as long as one iteration of the fit."""
    objective = _objective(fitted, folder, settings, every)
    values = vector_of(fitted)
    residuals = objective.residuals(fitted)
    jacobian = jacobian_at(fitted, objective, values, residuals)
    return identify(PARAMETERS, vector_of(start), values, jacobian, residuals)


def _objective(profile: Profile, folder: MeasurementFolder, settings: FitSettings, every: int) -> Objective:
    sample = fit_sample(folder.runs(profile.model.name), every)
    rows = decode_rows(folder.microbenchmarks(), profile)
    return Objective(sample, rows, settings, bounded_parameters(profile))


def _validity(runs: list[Run]) -> ValidityRange:
    """What the runs that started cover."""
    ok = [run for run in runs if run.status == "ok"]
    values = {name: [getattr(run, name) for run in ok] for name in ValidityRange.model_fields}
    return ValidityRange(**{name: (min(given), max(given)) for name, given in values.items()})


def _report(profile: Profile, runs: list[Run], settings: FitSettings) -> FitReport:
    predictions = list(predict_runs(runs, profile, seed=settings.seed, threads=settings.threads))
    scores = score(compare(runs, predictions))
    figures = {name: round(scores.smape[name], 3) for name in ("throughput", "ITL", "TPOT", "TTFT")}
    return FitReport(
        source="arXiv:2508.08343, runs on one H100 64 GB, vLLM 0.8.5",
        rows=scores.ok,
        throughput_smape=figures["throughput"],
        itl_smape=figures["ITL"],
        tpot_smape=figures["TPOT"],
        ttft_smape=figures["TTFT"],
    )
