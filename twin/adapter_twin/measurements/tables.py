"""Reading the measurement tables: an error names file, line, column and what is allowed."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adapter_twin.errors import MeasurementError


def _cycle(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


def _optional(value: object) -> object:
    return None if value == "" else value


_Count = Annotated[int, Field(ge=0)]
_Measured = Annotated[float | None, BeforeValidator(_optional)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Run(_Row):
    """One measured run of an hour: a row of `runs.csv`. Latencies are in milliseconds, as there."""

    run: str
    set: str
    model: str
    status: Literal["ok", "oom"]
    max_loras: Annotated[int, Field(ge=1)]
    max_lora_rank: Annotated[int, Field(ge=1)]
    adapters: Annotated[int, Field(ge=1)]
    adapter_rates: Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_cycle)]
    adapter_ranks: Annotated[tuple[int, ...], BeforeValidator(_cycle)]
    offered_rate_rps: Annotated[float, Field(gt=0)]
    completed: _Measured
    duration_s: _Measured
    input_tokens: _Measured
    output_tokens: _Measured
    ttft_mean_ms: _Measured
    ttft_p50_ms: _Measured
    ttft_p99_ms: _Measured
    tpot_mean_ms: _Measured
    itl_mean_ms: _Measured
    running_mean: _Measured
    waiting_mean: _Measured
    kv_usage_mean: _Measured

    @property
    def throughput(self) -> float:
        """Input and output tokens of finished requests, per second."""
        return ((self.input_tokens or 0.0) + (self.output_tokens or 0.0)) / (self.duration_s or 1.0)

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


_RowT = TypeVar("_RowT", bound=_Row)


def read_runs(path: Path) -> list[Run]:
    """The rows of a table of runs."""
    return _read(path, Run)


def read_kv_capacity(path: Path) -> list[KvCapacity]:
    """The rows of a table of KV capacities."""
    return _read(path, KvCapacity)


def read_adapter_loading(path: Path) -> list[AdapterLoading]:
    """The rows of a table of loading times."""
    return _read(path, AdapterLoading)


def read_microbenchmarks(path: Path) -> list[Microbenchmark]:
    """The rows of a table of microbenchmarks."""
    return _read(path, Microbenchmark)


def pooled_tokens_per_request(runs: Sequence[Run]) -> float:
    """Tokens per finished request over all `ok` rows: what an ideal run completes per request."""
    ok = [run for run in runs if run.status == "ok"]
    tokens = sum((run.input_tokens or 0.0) + (run.output_tokens or 0.0) for run in ok)
    return tokens / sum(run.completed or 0.0 for run in ok)


def _read(path: Path, row_type: type[_RowT]) -> list[_RowT]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            _require_columns(path, reader.fieldnames or (), row_type)
            return [_row(path, number, raw, row_type) for number, raw in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(f"measurements: cannot read {path}: {error}") from error


def _require_columns(path: Path, columns: Sequence[str], row_type: type[_Row]) -> None:
    missing = [name for name in row_type.model_fields if name not in columns]
    if missing:
        raise MeasurementError(
            f"{path.name}: column {', '.join(missing)} missing; a table of {row_type.__name__} rows needs "
            f"{', '.join(row_type.model_fields)}"
        )


def _row(path: Path, line: int, raw: dict[str, str], row_type: type[_RowT]) -> _RowT:
    try:
        return row_type.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        column = first["loc"][0] if first["loc"] else "row"
        raise MeasurementError(f"{path.name} line {line}: {column}: {first['msg']}") from error
