"""The formats of traces, told apart by their columns: adaptwin's own, and those of public LLM traces."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final, cast

from adapter_twin.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Row = tuple[Any, Any, Any, Any]
"""Time, prompt tokens, output tokens and adapter, as they stand in the file; None where there is none."""


def _timestamp(value: Any) -> float:
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _milliseconds(value: Any) -> float:
    return float(value) / 1000.0


@dataclass(frozen=True)
class TraceFormat:
    """Which columns hold what."""

    name: str
    time: str
    prompt: str
    output: str
    adapter: str | None = None
    """The column that names adapters; None where the format has none."""
    seconds: Callable[[Any], float] = float
    from_first: bool = False
    """Time counts from the first request; otherwise from 0."""
    skips_empty: bool = True
    """Requests without prompt or output tokens failed, and are left out; otherwise they are errors."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What a file of this format has at least."""
        own = (self.time, self.prompt, self.output)
        return own if self.adapter is None else (*own, self.adapter)


OWN: Final = TraceFormat(
    "adaptwin", "arrival_time", "prompt_tokens", "output_tokens", adapter="adapter", skips_empty=False
)
FORMATS: Final = (
    OWN,
    TraceFormat(
        "Azure LLM inference",
        "TIMESTAMP",
        "ContextTokens",
        "GeneratedTokens",
        seconds=_timestamp,
        from_first=True,
    ),
    TraceFormat("BurstGPT", "Timestamp", "Request tokens", "Response tokens", from_first=True),
    TraceFormat("Mooncake", "timestamp", "input_length", "output_length", seconds=_milliseconds),
)


def open_trace(path: Path) -> IO[str]:
    """The file as text, unpacked if its name ends in .gz."""
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def rows_of(file: IO[str], column: str | None) -> tuple[TraceFormat, Iterator[tuple[int, Row]]]:
    """The format, and the rows with their line numbers.

    Args:
        file: CSV with a header line, or JSON objects, one a line.
        column: that names adapters; None: the format's own.
    """
    first = file.readline()
    if first.lstrip().startswith("{"):
        chosen = _recognised(list(_record(first, 1)), column)
        return chosen, _json_rows(first, file, chosen, column)
    header = next(csv.reader([first]), [])
    chosen = _recognised(header, column)
    return chosen, _csv_rows(file, header, chosen, column)


def _recognised(columns: list[str], column: str | None) -> TraceFormat:
    matches = [known for known in FORMATS if {*known.columns[:3]} <= {*columns}]
    needed = OWN.columns
    if matches:
        needed = (*matches[0].columns[:3], column or matches[0].adapter or matches[0].time)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise WorkloadError(
            f"column {missing[0]} is missing, a trace needs the columns {', '.join(OWN.columns)} "
            "or those of the Azure, BurstGPT or Mooncake traces"
        )
    return matches[0]


def _csv_rows(
    file: IO[str], header: list[str], chosen: TraceFormat, column: str | None
) -> Iterator[tuple[int, Row]]:
    names = (chosen.time, chosen.prompt, chosen.output, column or chosen.adapter)
    time, prompt, output, adapter = (len(header) if name is None else header.index(name) for name in names)
    padding: list[Any] = [None] * (len(header) + 1)
    for line, row in enumerate(csv.reader(file), start=2):
        if row:
            cells = row + padding[len(row) :]
            yield line, (cells[time], cells[prompt], cells[output], cells[adapter])


def _json_rows(
    first: str, file: IO[str], chosen: TraceFormat, column: str | None
) -> Iterator[tuple[int, Row]]:
    name = column or chosen.adapter or ""
    line = 1
    while first:
        if first.strip():
            row = _record(first, line)
            yield line, (row.get(chosen.time), row.get(chosen.prompt), row.get(chosen.output), row.get(name))
        first, line = file.readline(), line + 1


def _record(text: str, line: int) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise WorkloadError(f"line {line}: not a JSON object") from error
    if not isinstance(record, dict):
        raise WorkloadError(f"line {line}: not a JSON object")
    return record
