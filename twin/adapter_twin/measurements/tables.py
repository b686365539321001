"""Reading the measurement tables: an error names file, line, column and what is allowed."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adapter_twin.errors import MeasurementError


def _cycle(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


def _optional(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "nan") else value


_Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Rank = Annotated[int, Field(ge=1)]
_Measured = Annotated[_Finite | None, BeforeValidator(_optional)]


class _Row(BaseModel):
    """A row of a table. Fields with a default are columns that a table may lack."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)


class MeasuredRun(_Row):
    """What all tables of runs have in common, whatever engine was measured. Latencies are in milliseconds."""

    run: str
    model: Annotated[str, Field(min_length=1)]
    status: Literal["ok", "oom"]
    adapters: Annotated[int, Field(ge=1)]
    offered_rate_rps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    completed: _Measured
    duration_s: _Measured
    input_tokens: _Measured
    output_tokens: _Measured
    ttft_mean_ms: _Measured
    ttft_p50_ms: _Measured = None
    tpot_mean_ms: _Measured
    itl_mean_ms: _Measured
    kv_usage_mean: _Measured = None

    @property
    def batch_size(self) -> float | None:
        """Running requests, on average; None where nobody counted them."""
        return None

    @property
    def throughput(self) -> float:
        """Input and output tokens of finished requests, per second."""
        return ((self.input_tokens or 0.0) + (self.output_tokens or 0.0)) / (self.duration_s or 1.0)


class Run(MeasuredRun):
    """One measured run of an hour: a row of `runs.csv`."""

    set: str = ""
    max_loras: Annotated[int, Field(ge=1)]
    max_lora_rank: Annotated[int, Field(ge=1)]
    adapter_rates: Annotated[tuple[_Rate, ...], BeforeValidator(_cycle), Field(min_length=1)]
    adapter_ranks: Annotated[tuple[_Rank, ...], BeforeValidator(_cycle), Field(min_length=1)]
    ttft_p99_ms: _Measured = None
    running_mean: _Measured = None
    waiting_mean: _Measured = None

    @property
    def batch_size(self) -> float | None:
        """Running requests over the last three quarters of the run."""
        return self.running_mean

    @property
    def combination(self) -> str:
        """What runs share that differ only in size: the unit of cross-validation."""
        return " ".join(map(str, self.adapter_rates))


class KvCapacity(_Row):
    """KV cache tokens that the engine reported: a row of `kv_capacity.csv`."""

    model: str
    max_loras: Annotated[int, Field(ge=1)]
    max_lora_rank: Annotated[int, Field(ge=1)]
    status: Literal["ok", "oom"]
    kv_cache_tokens: Annotated[int | None, BeforeValidator(_optional)]


class AdapterLoading(_Row):
    """Time to copy one adapter from host memory into a slot: a row of `adapter_loading.csv`."""

    model: str
    max_lora_rank: Annotated[int, Field(ge=1)]
    adapter_rank: Annotated[int, Field(ge=1)]
    load_cpu_to_gpu_ms: Annotated[float, Field(gt=0)]


class Microbenchmark(_Row):
    """A short closed-loop run with a fixed batch: a row of `microbenchmarks.csv`."""

    kind: str
    model: str
    name: str
    max_num_seqs: Annotated[int | None, BeforeValidator(_optional)]
    max_loras: Annotated[int | None, BeforeValidator(_optional)]
    max_lora_rank: Annotated[int | None, BeforeValidator(_optional)]
    active_adapters: Annotated[int | None, BeforeValidator(_optional)]
    prompts: int
    input_length: int
    output_length: int
    tpot_mean_ms: _Measured
    itl_mean_ms: _Measured
    duration_s: _Measured
    running_mean: _Measured
    waiting_mean: _Measured


class SloraRun(MeasuredRun):
    """One measured run of S-LoRA: a row of `slora_runs.csv`."""

    adapter_rank: _Rank
    adapter_rate: _Rate
    ttft_p50_ms: _Measured = None
    batch_mean: _Measured = None
    active_adapters_mean: _Measured = None

    @property
    def batch_size(self) -> float | None:
        """Running requests over all steps."""
        return self.batch_mean


_RowT = TypeVar("_RowT", bound=_Row)


@dataclass(frozen=True)
class Table(Generic[_RowT]):
    """The rows of a file, with the line that each began on."""

    path: Path
    rows: tuple[_RowT, ...]
    lines: tuple[int, ...]


def read_runs(path: Path) -> list[Run]:
    """The rows of a table of runs."""
    return _read(path, Run)


def read_slora_runs(path: Path) -> list[SloraRun]:
    """The rows of a table of S-LoRA runs."""
    return _read(path, SloraRun)


def read_kv_capacity(path: Path) -> list[KvCapacity]:
    """The rows of a table of KV capacities."""
    return _read(path, KvCapacity)


def read_adapter_loading(path: Path) -> list[AdapterLoading]:
    """The rows of a table of loading times."""
    return _read(path, AdapterLoading)


def read_microbenchmarks(path: Path) -> list[Microbenchmark]:
    """The rows of a table of microbenchmarks."""
    return _read(path, Microbenchmark)


def pooled_tokens_per_request(runs: Sequence[MeasuredRun]) -> float:
    """Tokens per finished request over all `ok` rows: what an ideal run completes per request."""
    ok = [run for run in runs if run.status == "ok"]
    tokens = sum((run.input_tokens or 0.0) + (run.output_tokens or 0.0) for run in ok)
    return tokens / sum(run.completed or 0.0 for run in ok)


def read_any_runs(path: Path) -> Table[Run] | Table[SloraRun]:
    """A table of measured runs; which engine's, its columns tell.

    Raises:
        MeasurementError: it has the columns of neither, or cannot be read.
    """
    columns = read_columns(path)
    if not _missing(columns, Run):
        return read_table(path, Run)
    if not _missing(columns, SloraRun):
        return read_table(path, SloraRun)
    raise MeasurementError(
        f"{path.name}: no table of measured runs; one of vLLM lacks the columns "
        f"{', '.join(_missing(columns, Run))}, one of S-LoRA {', '.join(_missing(columns, SloraRun))}"
    )


def _missing(columns: Sequence[str], row_type: type[_Row]) -> list[str]:
    return [name for name in required_columns(row_type) if name not in columns]


def required_columns(row_type: type[_Row]) -> list[str]:
    """The columns that a table of such rows cannot lack."""
    return [name for name, field in row_type.model_fields.items() if field.is_required()]


def read_columns(path: Path) -> tuple[str, ...]:
    """The names in a table's first line.

    Raises:
        MeasurementError: the file cannot be read, or is empty.
    """
    with _reading(path) as reader:
        return tuple(reader.fieldnames or ())


def read_table(path: Path, row_type: type[_RowT]) -> Table[_RowT]:
    """All rows of a table; blank lines are passed over.

    Raises:
        MeasurementError: the file cannot be read, lacks a column, or holds a value of the wrong kind.
    """
    with _reading(path) as reader:
        _require_columns(path, reader.fieldnames or (), row_type)
        rows = [(reader.line_num, _row(path, reader.line_num, raw, row_type)) for raw in reader]
    return Table(path, tuple(row for _, row in rows), tuple(line for line, _ in rows))


def _read(path: Path, row_type: type[_RowT]) -> list[_RowT]:
    return list(read_table(path, row_type).rows)


@contextmanager
def _reading(path: Path) -> Iterator["csv.DictReader[str]"]:
    """A reader past the line of column names, which spreadsheets may have begun with a byte order mark."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if not reader.fieldnames:
                raise MeasurementError(f"measurements: {path} is empty; its first line must name the columns")
            yield reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MeasurementError(f"measurements: cannot read {path}: {error}") from error


def _require_columns(path: Path, columns: Sequence[str], row_type: type[_Row]) -> None:
    missing = _missing(columns, row_type)
    if missing:
        raise MeasurementError(
            f"{path.name}: column {', '.join(missing)} missing; a table of {row_type.__name__} rows needs "
            f"{', '.join(required_columns(row_type))}"
        )


def _row(path: Path, line: int, raw: dict[str, str], row_type: type[_RowT]) -> _RowT:
    cells = {name: raw[name] or "" for name in row_type.model_fields if name in raw}
    try:
        return row_type.model_validate(cells)
    except ValidationError as error:
        first = error.errors()[0]
        column = first["loc"][0] if first["loc"] else "row"
        raise MeasurementError(f"{path.name} line {line}: {column}: {first['msg']}") from error
