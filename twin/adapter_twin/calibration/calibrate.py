"""The whole calibration of a profile, one stage after another."""

from adapter_twin.calibration.fit import FitSettings, Objective, Progress, fit_closed_loop
from adapter_twin.calibration.physical import fit_fixed_bytes, fit_length_means, fit_loading
from adapter_twin.calibration.residuals import decode_rows
from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.measurements.tables import Run
from adapter_twin.profile import FitReport, Profile
from adapter_twin.validation.runs import predict_runs
from adapter_twin.validation.scores import score

FIT_RATE_LIMIT_RPS = 150.0
"""Busier runs are left out of the fit, not of the report: their queue is at the cap on connections all the
time, as in slower ones, and they take the longest to simulate."""


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
    sample = [run for run in runs if run.status == "ok" and run.offered_rate_rps <= FIT_RATE_LIMIT_RPS]
    objective = Objective(sample[::every], decode_rows(folder.microbenchmarks(), open_loop), settings)
    fitted = fit_closed_loop(open_loop, objective, progress)
    return fitted.model_copy(update={"fit": _report(fitted, runs, settings)})


def _report(profile: Profile, runs: list[Run], settings: FitSettings) -> FitReport:
    predictions = list(predict_runs(runs, profile, seed=settings.seed, threads=settings.threads))
    scores = score(runs, predictions)
    figures = {name: round(scores.smape[name]["all"], 3) for name in ("throughput", "ITL", "TPOT", "TTFT")}
    return FitReport(
        source="arXiv:2508.08343, runs on one H100 64 GB, vLLM 0.8.5",
        rows=scores.rows["all"],
        throughput_smape=figures["throughput"],
        itl_smape=figures["ITL"],
        tpot_smape=figures["TPOT"],
        ttft_smape=figures["TTFT"],
    )
