"""Result files of `vllm bench serve --save-result`, of vLLM 0.8.5's `benchmark_serving.py` to today's.

A result says what the client did and saw, not how the server was started: that has to come with
`--metadata KEY=VALUE`, which puts its keys beside the others. Times are vLLM's, in s or ms as named.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from adapter_twin.errors import MeasurementError

_LEAST_COMPLETED = 0.98
"""Part of the prompts that must have been answered: failures make the rest of the figures meaningless."""
_METADATA = "; say it with --metadata {0}=VALUE when the run is made, or add the key to the file"


class BenchResult(BaseModel):
    """One benchmark run; keys that are not read are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str = Field(description="the file, for messages")
    model_id: str
    num_prompts: PositiveInt
    request_rate: PositiveFloat = Field(description="requests/s; infinite: all at once")
    burstiness: PositiveFloat = 1.0
    max_concurrency: PositiveInt | None = None
    duration: PositiveFloat
    completed: PositiveInt
    total_input_tokens: PositiveInt
    total_output_tokens: PositiveInt
    mean_ttft_ms: PositiveFloat
    mean_tpot_ms: NonNegativeFloat
    input_lens: tuple[NonNegativeInt, ...] | None = Field(None, description="with --save-detailed")
    output_lens: tuple[NonNegativeInt, ...] | None = Field(None, description="with --save-detailed")
    start_times: tuple[float, ...] | None = Field(None, description="with --save-detailed, newer versions")
    ramp_up_strategy: None = Field(None, description="a changing rate is not read")

    max_loras: NonNegativeInt = Field(description="metadata; 0: started without --enable-lora")
    adapters: NonNegativeInt = Field(description="metadata: how many --lora-modules the client chose among")
    max_lora_rank: PositiveInt | None = Field(None, description="metadata")
    adapter_rank: PositiveInt | None = Field(None, description="metadata; default: max_lora_rank")
    max_num_seqs: PositiveInt | None = Field(None, description="metadata; default: the profile's")
    max_num_batched_tokens: PositiveInt | None = Field(None, description="metadata; default: the profile's")
    max_model_len: PositiveInt | None = Field(None, description="metadata; default: the profile's")
    gpu_memory_utilization: Annotated[float | None, Field(gt=0, le=1)] = None
    kv_cache_tokens: PositiveInt | None = Field(None, description="metadata: `GPU KV cache size` in the log")
    profile_model: str | None = Field(None, description="metadata: the profile's model name")
    profile_gpu: str | None = Field(None, description="metadata: the profile's GPU name")
    vllm_version: str | None = Field(None, description="metadata")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.adapters and not self.max_loras:
            raise ValueError("adapters: requests for adapters need max_loras of 1 or more")
        if self.max_loras and self.max_lora_rank is None:
            raise ValueError("max_lora_rank: missing" + _METADATA.format("max_lora_rank"))
        if self.completed < _LEAST_COMPLETED * self.num_prompts:
            raise ValueError(f"completed: {self.completed} of {self.num_prompts} prompts only; repeat it")
        for name in ("input_lens", "output_lens", "start_times"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_prompts:
                raise ValueError(f"{name}: {len(values)} entries for num_prompts {self.num_prompts}")
        return self

    @property
    def detailed(self) -> bool:
        """Whether the token lengths of single requests are known."""
        return self.input_lens is not None and self.output_lens is not None

    @property
    def throughput_tokens_per_s(self) -> float:
        """Prompt and output tokens over the duration."""
        return (self.total_input_tokens + self.total_output_tokens) / self.duration

    @property
    def completed_rps(self) -> float:
        """Requests finished per second."""
        return self.completed / self.duration


def read_bench_results(folder: Path) -> tuple[BenchResult, ...]:
    """All results in a folder, in the order of the files' names.

    Raises:
        MeasurementError: there is no folder, no result in it, or one that cannot be used.
    """
    if not folder.is_dir():
        raise MeasurementError(f"results: there is no folder {folder}")
    files = sorted(path for path in folder.glob("*.json") if not path.name.endswith(".pytorch.json"))
    results = tuple(result for path in files for result in read_bench_file(path))
    if not results:
        raise MeasurementError(f"results: {folder} holds no result of vllm bench serve (*.json)")
    return results


def read_bench_file(path: Path) -> list[BenchResult]:
    """The results in one file: one, or one a line (`--append-result`)."""
    return [_result(raw, path.name) for raw in _objects(path)]


def _objects(path: Path) -> Iterator[Any]:
    try:
        text = path.read_text(encoding="utf-8")
        decoder = json.JSONDecoder()
        place = 0
        while text[place:].strip():
            place += len(text[place:]) - len(text[place:].lstrip())
            content, place = decoder.raw_decode(text, place)
            yield content
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MeasurementError(f"results: cannot read {path}: {error}") from error


def _result(raw: Any, source: str) -> BenchResult:
    if not isinstance(raw, dict):
        raise MeasurementError(f"{source}: not a result of vllm bench serve, which is a JSON object")
    try:
        return BenchResult.model_validate({**raw, "source": source})
    except ValidationError as error:
        raise MeasurementError(f"{source}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if not key:
        return first["msg"].removeprefix("Value error, ")
    if key == "ramp_up_strategy":
        return "ramp_up_strategy: a run whose rate changes cannot be read, make one with a constant rate"
    if first["type"] == "missing":
        metadata = key in ("max_loras", "adapters")
        return f"{key}: missing" + (_METADATA.format(key) if metadata else "")
    return f"{key}: {first['msg']}"
