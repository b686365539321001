"""Datasets: runs of the twin in a folder that only grows, so that a run which was killed goes on.

`manifest.json` says what is drawn; `samples.jsonl` holds one finished run a line. While runs are made they
are appended as they end; a dataset that is complete is in the order of the runs, whoever made them.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapter_predictor.artifact import prediction_hash
from adapter_predictor.errors import DatasetError
from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.physics import HORIZON_S
from adapter_predictor.prediction import FloatArray
from adapter_predictor.simulation import simulate_load
from adapter_predictor.training.backends import Workers
from adapter_predictor.training.sampling import Sampler
from adapter_twin.outputs import write_text
from adapter_twin.profile import Profile
from adapter_twin.version import __version__

_MANIFEST: Final = "manifest.json"
_SAMPLES: Final = "samples.jsonl"


class Manifest(BaseModel):
    """What a dataset is drawn from; a folder never mixes two.

    Attributes:
        profile: Name of the profile.
        profile_hash: Its `prediction_hash`.
        seed: Of the loads and of their arrivals.
        horizon_s: Simulated seconds of each run.
        code_version: Version of the twin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str
    profile_hash: str
    seed: int
    horizon_s: float
    code_version: str

    @classmethod
    def of(cls, profile: Profile, seed: int, horizon_s: float = HORIZON_S) -> Self:
        """The manifest of a dataset that is to be."""
        return cls(
            profile=profile.name,
            profile_hash=prediction_hash(profile),
            seed=seed,
            horizon_s=horizon_s,
            code_version=__version__,
        )

    def require_same(self, other: "Manifest", folder: Path) -> None:
        """Refuse `folder`, whose manifest this is, where it was drawn from something else."""
        for field in Manifest.model_fields:
            mine, asked = getattr(self, field), getattr(other, field)
            if mine != asked:
                raise DatasetError(
                    f"dataset: {folder} was begun with {field} {mine}, not {asked}; choose another folder"
                )


class Sample(BaseModel):
    """One run: the load, and what the twin made of it (latencies None where no request finished)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    index: int
    rates: Annotated[list[float], Field(min_length=1)]
    prompt_tokens_mean: float
    output_tokens_mean: float
    max_loras: int
    max_lora_rank: int
    served_fraction: float
    throughput_tokens_per_s: float
    itl_s: float | None
    ttft_s: float | None

    @property
    def load(self) -> ReplicaLoad:
        """The load that was simulated."""
        return ReplicaLoad(
            tuple(self.rates),
            self.prompt_tokens_mean,
            self.output_tokens_mean,
            self.max_loras,
            self.max_lora_rank,
        )


@dataclass(frozen=True)
class Dataset:
    """Finished runs in the order of their index.

    Attributes:
        manifest: Where they come from.
        samples: The runs.
    """

    manifest: Manifest
    samples: tuple[Sample, ...]

    @property
    def loads(self) -> LoadBatch:
        """The loads of all runs."""
        return LoadBatch.of([sample.load for sample in self.samples])

    def target(self, name: str) -> FloatArray:
        """One target of all runs, NaN where the twin had none; shape (n)."""
        values = [getattr(sample, name) for sample in self.samples]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def simulate_sample(sampler: Sampler, index: int, horizon_s: float) -> Sample:
    """Draw one load and run the twin on it."""
    load = sampler.draw(index)
    report = simulate_load(sampler.profile, load, seed=sampler.arrivals_seed(index), horizon_s=horizon_s)
    return Sample(
        index=index,
        rates=list(load.rates),
        prompt_tokens_mean=load.prompt_tokens_mean,
        output_tokens_mean=load.output_tokens_mean,
        max_loras=load.max_loras,
        max_lora_rank=load.max_lora_rank,
        served_fraction=report.served_fraction,
        throughput_tokens_per_s=report.throughput_tokens_per_s,
        itl_s=_known(report.itl_s.mean),
        ttft_s=_known(report.ttft_s.mean),
    )


def generate(
    profile: Profile,
    folder: Path,
    *,
    indices: Collection[int],
    seed: int,
    horizon_s: float = HORIZON_S,
    workers: Workers | None = None,
) -> Iterator[int]:
    """Run what a dataset still lacks, writing each run down as it ends.

    Args:
        profile: The profile.
        folder: The dataset's folder, new or of the same manifest.
        indices: Numbers of the runs that it shall have.
        seed: Of loads and arrivals.
        horizon_s: Simulated seconds of each run.
        workers: What runs them; one process where None.

    Yields:
        How many of the runs are there, first at once and then after each.
    """
    manifest = Manifest.of(profile, seed, horizon_s)
    done = _started(folder, manifest)
    missing = [index for index in indices if index not in done]
    present = len(indices) - len(missing)
    yield present
    sampler = Sampler(profile, seed)
    calls = ((sampler, index, horizon_s) for index in missing)
    with (folder / _SAMPLES).open("a", encoding="utf-8") as file:
        for number, sample in enumerate(
            (workers or Workers()).run(simulate_sample, calls), start=present + 1
        ):
            file.write(sample.model_dump_json() + "\n")
            file.flush()
            yield number
    _put_in_order(folder)


def holds_runs(folder: Path) -> bool:
    """Whether a folder has a dataset, however small."""
    path = folder / _SAMPLES
    return path.exists() and path.stat().st_size > 0


def read_dataset(folder: Path) -> Dataset:
    """The runs that a folder holds."""
    samples = {sample.index: sample for sample in _read_samples(folder)}
    if not samples:
        raise DatasetError(f"dataset: {folder} holds no run; `adaptwin predictor dataset` makes them")
    return Dataset(_read_manifest(folder), tuple(samples[index] for index in sorted(samples)))


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write runs in order, whole or not at all; the same runs are the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / _MANIFEST, dataset.manifest.model_dump_json(indent=2) + "\n")
    lines = (sample.model_dump_json() + "\n" for sample in dataset.samples)
    write_text(folder / _SAMPLES, "".join(lines))


def _put_in_order(folder: Path) -> None:
    indices = [sample.index for sample in _read_samples(folder)]
    if any(later <= earlier for earlier, later in pairwise(indices)):
        write_dataset(read_dataset(folder), folder)


def _started(folder: Path, manifest: Manifest) -> set[int]:
    """Indices of the runs that the folder holds; a new folder is begun, a torn last line is cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _MANIFEST
    if not path.exists():
        write_text(path, manifest.model_dump_json(indent=2) + "\n")
        return set()
    _read_manifest(folder).require_same(manifest, folder)
    _cut_torn_line(folder / _SAMPLES)
    return {sample.index for sample in _read_samples(folder)}


def _cut_torn_line(path: Path) -> None:
    """Drop what a killed process left of a line."""
    if not path.exists():
        return
    written = path.read_bytes()
    whole = written[: written.rfind(b"\n") + 1]
    if whole != written:
        path.write_bytes(whole)


def _read_manifest(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except OSError as error:
        raise DatasetError(f"dataset: {folder} has no {_MANIFEST}") from error
    except ValidationError as error:
        raise DatasetError(f"dataset: {folder / _MANIFEST} is not a manifest of ours") from error


def _read_samples(folder: Path) -> Iterator[Sample]:
    path = folder / _SAMPLES
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield _sample(line, f"{path} line {number}")


def _sample(line: bytes, where: str) -> Sample:
    try:
        return Sample.model_validate_json(line)
    except ValidationError as error:
        raise DatasetError(f"dataset: {where} is not a run") from error


def _known(seconds: float) -> float | None:
    return seconds if np.isfinite(seconds) else None
