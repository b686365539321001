"""Traces: recorded requests in a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.errors import WorkloadError
from adapter_twin.workload.model import BASE_MODEL, Adapter, Requests

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = ("arrival_time", "prompt_tokens", "output_tokens", "adapter")
"""Seconds from the start, tokens, tokens, name (empty: the base model)."""

DEFAULT_RANK = 16


def read_trace(path: str | Path, ranks: dict[str, int] | None = None) -> tuple[tuple[Adapter, ...], Requests]:
    """Adapters in order of first use, with their mean rates over the trace, and all requests by arrival.

    Args:
        path: a CSV file with the columns `COLUMNS`; others are ignored.
        ranks: rank by adapter name; 16 where it is missing.

    Raises:
        WorkloadError: the file cannot be read, lacks a column, or holds a value that is not allowed.
    """
    rows = _rows(Path(path))
    try:
        return _parsed(rows, ranks or {})
    except WorkloadError as error:
        raise WorkloadError(f"{path}: {error}") from error


def _parsed(
    rows: list[tuple[int, dict[str, str]]], ranks: Mapping[str, int]
) -> tuple[tuple[Adapter, ...], Requests]:
    arrival_s = np.array([_number(row, line, "arrival_time", 0.0) for line, row in rows], dtype=np.float64)
    prompt = np.array([_tokens(row, line, "prompt_tokens") for line, row in rows], dtype=np.int32)
    output = np.array([_tokens(row, line, "output_tokens") for line, row in rows], dtype=np.int32)
    names = [(row["adapter"] or "").strip() for _, row in rows]
    index = {name: i for i, name in enumerate(dict.fromkeys(name for name in names if name))}
    owner = np.array([index.get(name, BASE_MODEL) for name in names], dtype=np.int32)
    order = np.argsort(arrival_s, kind="stable")
    span_s = max(float(arrival_s.max()), 1.0)
    counts = np.bincount(owner[owner >= 0], minlength=len(index))
    adapters = tuple(
        Adapter(name, rate=float(counts[i]) / span_s, rank=ranks.get(name, DEFAULT_RANK))
        for name, i in index.items()
    )
    return adapters, Requests(arrival_s[order], prompt[order], output[order], owner[order])


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise WorkloadError(
                    f"{path}: column {missing[0]} is missing, a trace needs the columns {', '.join(COLUMNS)}"
                )
            rows = list(enumerate(reader, start=2))
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read, {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorkloadError(f"{path}: not a CSV file in UTF-8") from error
    if not rows:
        raise WorkloadError(f"{path}: holds no requests, a trace needs at least one row")
    return rows


def _number(row: dict[str, str], line: int, column: str, minimum: float) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = float("nan")
    if not minimum <= value < float("inf"):
        raise WorkloadError(f"line {line}: {column} {row[column]!r} is not a number of at least {minimum:g}")
    return value


def _tokens(row: dict[str, str], line: int, column: str) -> int:
    value = _number(row, line, column, 1.0)
    if value != int(value) or value > np.iinfo(np.int32).max:
        raise WorkloadError(f"line {line}: {column} {row[column]!r} is not a whole number of tokens")
    return int(value)
