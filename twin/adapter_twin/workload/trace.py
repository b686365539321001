"""Traces: recorded requests in a file."""

from __future__ import annotations

import csv
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter_twin.errors import WorkloadError
from adapter_twin.workload.arrivals import LONGEST_S
from adapter_twin.workload.lengths import MOST_TOKENS
from adapter_twin.workload.model import BASE_MODEL, Adapter, Requests, require_duration
from adapter_twin.workload.popularity import zipf_shares
from adapter_twin.workload.random_streams import stream
from adapter_twin.workload.trace_formats import TraceFormat, open_trace, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from adapter_twin.workload.trace_formats import Row

DEFAULT_RANK = 8

_PROGRESS_ROWS = 1 << 16


@dataclass(frozen=True)
class TraceRules:
    """What a trace does not say: who its adapters are, and which part of it counts."""

    adapters: int | None = None
    """Spread the requests over so many adapters; None: as the trace names them, or else the base model."""
    zipf: float = 0.0
    """Exponent of the adapters' popularity; 0: all alike."""
    column: str | None = None
    """Column that names adapters; None: that of the format."""
    ranks: tuple[int, ...] = (DEFAULT_RANK,)
    """LoRA ranks, cycling over the adapters in order of first use."""
    start_s: float = 0.0
    """Leave out what comes before."""
    speed: float = 1.0
    """Of the arrivals: 2 halves all distances."""
    duration_s: float | None = None
    """Leave out what comes later after the start, in seconds at that speed."""
    seed: int = 0
    """Of the adapters that are drawn."""

    def __post_init__(self) -> None:
        if self.adapters is not None and self.column is not None:
            raise WorkloadError("trace: give either a number of adapters or the column that names them")
        if not (np.isfinite(self.speed) and self.speed > 0):
            raise WorkloadError(f"trace speed: {self.speed:g} is not allowed, it must be positive")
        if not 0 <= self.start_s < np.inf:
            raise WorkloadError(f"trace start: {self.start_s:g} is not allowed, it must be 0 s or more")
        if self.duration_s is not None:
            require_duration(self.duration_s)


@dataclass(frozen=True, eq=False)
class Trace:
    """Adapters in order of first use, with their mean rates, and all requests by arrival."""

    adapters: tuple[Adapter, ...]
    requests: Requests
    format: str
    failed: int
    """Requests without prompt or output, left out."""


def read_trace(
    path: str | Path, rules: TraceRules | None = None, on_rows: Callable[[int], None] | None = None
) -> Trace:
    """Read a trace, whose format is told by its columns.

    Args:
        path: a CSV or JSON Lines file in one of `trace_formats.FORMATS`, maybe gzipped.
        rules: what to make of it.
        on_rows: called now and then with the number of rows read so far.

    Raises:
        WorkloadError: the file cannot be read, lacks a column, or holds a value that is not allowed.
    """
    rules = rules or TraceRules()
    try:
        with open_trace(Path(path)) as file:
            chosen, rows = rows_of(file, rules.column)
            return _ruled(_read(chosen, rows, on_rows or (lambda _: None)), rules)
    except WorkloadError as error:
        raise WorkloadError(f"{path}: {error}") from error
    except (UnicodeDecodeError, EOFError, csv.Error) as error:
        raise WorkloadError(f"{path}: not a CSV or JSON Lines file in UTF-8") from error
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read, {error.strerror or error}") from error


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A file's requests, in its order."""

    format: TraceFormat
    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    adapter: NDArray[np.int32]
    names: tuple[str, ...]
    failed: int


def _read(chosen: TraceFormat, rows: Iterable[tuple[int, Row]], on_rows: Callable[[int], None]) -> _Recorded:
    times, columns = array("d"), (array("i"), array("i"), array("i"))
    names: dict[str, int] = {}
    failed = 0
    lowest = 0 if chosen.skips_empty else 1
    for line, (time, prompt, output, adapter) in rows:
        arrival_s = _seconds(chosen, time, line)
        prompt_tokens = _tokens(prompt, line, chosen.prompt, lowest)
        output_tokens = _tokens(output, line, chosen.output, lowest)
        if min(prompt_tokens, output_tokens) < 1:
            failed += 1
            continue
        times.append(arrival_s)
        name = "" if adapter is None else str(adapter).strip()
        owner = names.setdefault(name, len(names)) if name else BASE_MODEL
        for column, value in zip(columns, (prompt_tokens, output_tokens, owner), strict=True):
            column.append(value)
        if len(times) % _PROGRESS_ROWS == 0:
            on_rows(len(times))
    if not times:
        raise WorkloadError("holds no requests, a trace needs at least one row")
    prompts, outputs, owners = (np.frombuffer(column, dtype=np.int32) for column in columns)
    return _Recorded(chosen, np.frombuffer(times), prompts, outputs, owners, tuple(names), failed)


def _seconds(chosen: TraceFormat, value: Any, line: int) -> float:
    try:
        seconds = chosen.seconds(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not 0.0 <= seconds < float("inf"):
        allowed = "a number of at least 0" if chosen.seconds is float else "a time that can be read"
        raise WorkloadError(f"line {line}: {chosen.time} {value!r} is not {allowed}")
    return seconds


def _tokens(value: Any, line: int, column: str, minimum: int) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not minimum <= number <= MOST_TOKENS:
        raise WorkloadError(
            f"line {line}: {column} {value!r} is not a number from {minimum} to {MOST_TOKENS}"
        )
    if number != int(number):
        raise WorkloadError(f"line {line}: {column} {value!r} is not a whole number of tokens")
    return int(number)


def _ruled(recorded: _Recorded, rules: TraceRules) -> Trace:
    origin_s = float(recorded.arrival_s.min()) if recorded.format.from_first else 0.0
    arrival_s = (recorded.arrival_s - (origin_s + rules.start_s)) / rules.speed
    end_s = float("inf") if rules.duration_s is None else rules.duration_s
    order = np.argsort(arrival_s, kind="stable")
    first, last = np.searchsorted(arrival_s[order], (0.0, end_s))
    order = order[first:last]
    if order.size == 0:
        raise WorkloadError("no requests are left between the trace's start and the end of the duration")
    if arrival_s[order[-1]] > LONGEST_S:
        raise WorkloadError(f"the last request comes more than {LONGEST_S:g} s after the start")
    owner, names = _owners(recorded, rules, order)
    requests = Requests(arrival_s[order], recorded.prompt_tokens[order], recorded.output_tokens[order], owner)
    return Trace(_adapters(requests, names, rules), requests, recorded.format.name, recorded.failed)


def _owners(
    recorded: _Recorded, rules: TraceRules, order: NDArray[np.int64]
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The adapters of the requests in their order, and the adapters' names."""
    if rules.adapters is None:
        own = recorded.adapter[order]
        used = np.flatnonzero(np.bincount(own[own >= 0], minlength=len(recorded.names)))
        renumbered = np.full(len(recorded.names) + 1, BASE_MODEL, dtype=np.int32)
        renumbered[used] = np.arange(used.size, dtype=np.int32)
        return renumbered[own], tuple(recorded.names[i] for i in used)
    if recorded.names:
        raise WorkloadError("names its adapters already, leave out the number of adapters")
    limits = np.cumsum(zipf_shares(rules.adapters, rules.zipf))
    drawn = stream(rules.seed, "assignment").random(recorded.arrival_s.size)[order]
    owner = np.minimum(np.searchsorted(limits, drawn, side="right"), rules.adapters - 1)
    return owner.astype(np.int32), tuple(f"adapter-{i}" for i in range(rules.adapters))


def _adapters(requests: Requests, names: tuple[str, ...], rules: TraceRules) -> tuple[Adapter, ...]:
    span_s = rules.duration_s or max(float(requests.arrival_s[-1]), 1.0)
    counts = np.bincount(requests.adapter[requests.adapter >= 0], minlength=len(names))
    return tuple(
        Adapter(name, rate=float(count) / span_s, rank=rules.ranks[i % len(rules.ranks)])
        for i, (name, count) in enumerate(zip(names, counts, strict=True))
    )
