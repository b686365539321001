"""Datasets made in parts, on machines that do not know of one another, and put together afterwards."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from adapter_predictor.errors import DatasetError
from adapter_predictor.training.dataset import Dataset, holds_runs, read_dataset, write_dataset

INDEX_VARIABLE: Final = "JOB_COMPLETION_INDEX"
"""Where Kubernetes tells a pod of an Indexed Job which one it is."""

_SHARD: Final = re.compile(r"(\d+)/(\d+)")
_NAMED: Final = 5
"""Missing runs that an error names."""


@dataclass(frozen=True)
class Shard:
    """One part of a dataset: every `count`-th run from run `index` on.

    Attributes:
        index: From 0.
        count: Parts in all.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise DatasetError(
                f"shard: {self.index}/{self.count} is none; the first of N is 0/N and the last is (N-1)/N"
            )

    @classmethod
    def parse(cls, text: str | None, environment: Mapping[str, str] = os.environ) -> Self:
        """The shard in `I/N`, or in `/N` with I from the pod's completion index; the whole where None."""
        if text is None:
            return cls()
        found = _SHARD.fullmatch(environment.get(INDEX_VARIABLE, "") + text if text[:1] == "/" else text)
        if found is None:
            raise DatasetError(
                f"shard: {text!r} is not I/N, such as 0/16, nor /N in a pod that has {INDEX_VARIABLE}"
            )
        return cls(int(found[1]), int(found[2]))

    def indices(self, samples: int) -> range:
        """The runs of this part, of a dataset of so many."""
        return range(self.index, samples, self.count)


def merge(folders: Sequence[Path], out: Path, *, samples: int | None = None) -> Dataset:
    """Put shards together, and write what one machine alone would have written.

    Args:
        folders: Of the shards.
        out: Folder of the whole.
        samples: Runs that it must have; where None, all up to the highest that is there.

    Raises:
        DatasetError: a folder is no dataset or another one's shard, runs are missing, or `out` holds others.
    """
    parts = [read_dataset(folder) for folder in folders]
    if not parts:
        raise DatasetError("merge: name the folders of the shards")
    for folder, part in zip(folders, parts, strict=True):
        part.manifest.require_same(parts[0].manifest, folder)
    runs = {sample.index: sample for part in parts for sample in part.samples}
    _require_all(runs, samples if samples is not None else max(runs) + 1)
    whole = Dataset(parts[0].manifest, tuple(runs[index] for index in sorted(runs)))
    _require_nothing_lost(out, whole)
    write_dataset(whole, out)
    return whole


def _require_nothing_lost(out: Path, whole: Dataset) -> None:
    """Refuse to write over runs that the whole does not have."""
    if not holds_runs(out):
        return
    there = read_dataset(out)
    there.manifest.require_same(whole.manifest, out)
    others = {sample.index for sample in there.samples} - {sample.index for sample in whole.samples}
    if others:
        raise DatasetError(
            f"merge: {out} holds {len(others):,} runs that the shards lack; name another folder"
        )


def _require_all(indices: Iterable[int], samples: int) -> None:
    missing = sorted(set(range(samples)) - set(indices))
    if missing:
        named = ", ".join(map(str, missing[:_NAMED])) + (", …" if len(missing) > _NAMED else "")
        raise DatasetError(
            f"merge: {len(missing):,} of {samples:,} runs are missing (number {named}); a shard is absent or "
            "has not ended, start it again and it goes on"
        )
