"""What is validated: rows of a table that a profile can be asked about, and why others are not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from adapter_twin.errors import MeasurementError, ProfileError
from adapter_twin.measurements.tables import MeasuredRun, Microbenchmark, Run, SloraRun, Table
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.profile import Profile
from adapter_twin.profile.slora import SloraProfile
from adapter_twin.profile.store import AnyProfile
from adapter_twin.slora.calibration import cross_validate_slora
from adapter_twin.slora.runs import SloraPrediction, predict_slora_runs
from adapter_twin.validation.cross_validation import held_out_predictions
from adapter_twin.validation.document import Skipped
from adapter_twin.validation.runs import ArrivalSource, Prediction, predict_runs


@dataclass(frozen=True)
class Drawing:
    """How what is not known of a run is drawn: arrivals and token lengths."""

    arrivals: ArrivalSource
    seed: int
    draws: int
    """Seeds from `seed` on; the mean over them is predicted."""


@dataclass(frozen=True)
class Subject:
    """Runs of one model, and the profile that predicts them."""

    profile: AnyProfile
    runs: tuple[MeasuredRun, ...]

    def predictions(self, drawing: Drawing, threads: int) -> Iterator[Prediction]:
        """One per run, in order."""
        if isinstance(self.profile, Profile):
            runs = [run for run in self.runs if isinstance(run, Run)]
            return predict_runs(runs, self.profile, drawing.arrivals, drawing.seed, threads, drawing.draws)
        return _slora_predictions(self.profile, self.runs, drawing, threads)

    def held_out_predictions(
        self, microbenchmarks: Sequence[Microbenchmark], threads: int, progress: Callable[[float], None]
    ) -> list[Prediction]:
        """One per run, in order, each by a profile that was refitted without runs like it."""
        if isinstance(self.profile, Profile):
            runs = [run for run in self.runs if isinstance(run, Run)]
            return held_out_predictions(
                self.profile, runs, microbenchmarks, threads=threads, progress=progress
            )
        own = [run for run in self.runs if isinstance(run, SloraRun)]
        folds = cross_validate_slora(
            self.profile, own, threads=threads, progress=lambda _, part: progress(part)
        )
        said = {
            run.run: _in_common(one)
            for fold in folds
            for run, one in zip(fold.rows, fold.predictions, strict=True)
        }
        return [said[run.run] for run in own]


def subjects_of(
    tables: Sequence[Table[Run] | Table[SloraRun]],
    profiles: Sequence[AnyProfile],
    every: int,
    *,
    every_model: bool,
) -> tuple[list[Subject], list[Skipped]]:
    """The tables' runs by profile, in the tables' order, and the rows that no profile is asked about.

    Args:
        tables: with their rows.
        profiles: one per model.
        every: take every n-th run of a model.
        every_model: a row of a model without a profile is worth a word.

    Raises:
        MeasurementError: nothing is left.
    """
    _require_one_per_model(profiles)
    runs: dict[str, list[MeasuredRun]] = {profile.name: [] for profile in profiles}
    skipped = []
    for table in tables:
        own = {p.model.name: p for p in profiles if isinstance(p, Profile) == _is_vllm(table)}
        for row, line in zip(table.rows, table.lines, strict=True):
            if row.model not in own and not every_model:
                continue
            reason = _reason_to_skip(row, own)
            if reason:
                skipped.append(Skipped(table.path.name, line, row.run, reason))
            else:
                runs[own[row.model].name].append(row)
    subjects = [Subject(p, tuple(runs[p.name][::every])) for p in profiles if runs[p.name]]
    if not subjects:
        why = f"line {skipped[0].line}: {skipped[0].reason}" if skipped else "no row is of their models"
        if not any(table.rows for table in tables):
            why = "there is no row at all"
        raise MeasurementError(f"measurements: there is no run that the profiles can be asked about ({why})")
    return subjects, skipped


def _require_one_per_model(profiles: Sequence[AnyProfile]) -> None:
    models: dict[str, str] = {}
    for profile in profiles:
        other = models.setdefault(profile.model.name, profile.name)
        if other != profile.name:
            raise ProfileError(
                f"profile: {other} and {profile.name} are both of {profile.model.name}; name one per model"
            )


def _is_vllm(table: Table[Run] | Table[SloraRun]) -> bool:
    return any(isinstance(row, Run) for row in table.rows)


def _reason_to_skip(row: MeasuredRun, profiles: Mapping[str, AnyProfile]) -> str:
    if row.model not in profiles:
        return f"model: there is no profile of {row.model}; there are {', '.join(profiles) or 'none'}"
    if row.status == "ok":
        for column in ("completed", "duration_s", "input_tokens", "output_tokens"):
            if not getattr(row, column):
                return f"{column}: an ok run must have finished requests, and this is empty or 0"
    if isinstance(row, SloraRun) and row.status == "oom":
        return "status: S-LoRA pages its adapters, so the twin has no oom verdict to compare"
    if isinstance(row, Run):
        if row.max_lora_rank not in ALLOWED_LORA_RANKS:
            return (
                f"max_lora_rank: {row.max_lora_rank} is not one of {', '.join(map(str, ALLOWED_LORA_RANKS))}"
            )
        if max(row.adapter_ranks[: row.adapters]) > row.max_lora_rank:
            return f"adapter_ranks: {max(row.adapter_ranks)} exceeds max_lora_rank {row.max_lora_rank}"
    return ""


def _slora_predictions(
    profile: SloraProfile, runs: Sequence[MeasuredRun], drawing: Drawing, threads: int
) -> Iterator[Prediction]:
    own = [run for run in runs if isinstance(run, SloraRun)]
    own_arrivals = drawing.arrivals == "client-seed0"
    predict = partial(predict_slora_runs, profile, own, threads=threads, own_arrivals=own_arrivals)
    seeds = range(drawing.seed, drawing.seed + drawing.draws)
    for said in zip(*(predict(seed=seed) for seed in seeds), strict=True):
        yield Prediction.mean([_in_common(one) for one in said])


def _in_common(said: SloraPrediction) -> Prediction:
    return Prediction(
        "ok",
        said.throughput,
        said.itl_s,
        said.tpot_s,
        said.ttft_s,
        said.batch_size,
        said.waiting_mean,
        said.kv_usage_mean,
    )
