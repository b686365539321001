"""Recordings of vLLM's scheduler: what was asked of it, and step by step what it did.

A file is JSON, gzipped or not. It holds the engine's resolved configuration (`engine`), the requests with the
steps in which they arrive (`arrivals`), and the steps. Its `format` explains their fields.
"""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from adapter_twin.engine.policy import SchedulerPolicy
from adapter_twin.errors import ConformanceError
from adapter_twin.profile.model import Scheduling

if TYPE_CHECKING:
    from pathlib import Path


RecordedStep = dict[str, Any]

_FORMATS = ("trace-1.", "trace-async-1.")


class _Read(BaseModel):
    """Part of a recording; what is not listed has no say in the schedule, or is not supported."""

    model_config = ConfigDict(frozen=True, strict=True)


class _SchedulerConfig(_Read):
    max_num_seqs: PositiveInt
    max_num_active_seqs: PositiveInt | None = None
    long_prefill_token_threshold: NonNegativeInt
    long_prefill_token_threshold_adaptive: bool = False
    enable_chunked_prefill: Literal[True] = True
    policy: Literal["fcfs"] = "fcfs"
    max_num_queued_reqs: None = None
    max_num_queued_tokens: None = None
    prefill_schedule_interval: Literal[1] = 1
    async_scheduling: bool


class _CacheConfig(_Read):
    enable_prefix_caching: Literal[False] = False
    sliding_window: None = None


class _LoraConfig(_Read):
    max_loras: PositiveInt
    max_cpu_loras: PositiveInt


class _Engine(_Read):
    vllm: Annotated[str, Field(pattern=r"^\d+\.\d+")]
    batch_queue_size: Literal[2] = 2
    num_lookahead_tokens: Literal[0] = 0
    scheduler_config: _SchedulerConfig
    cache_config: _CacheConfig = _CacheConfig()
    lora_config: _LoraConfig | None = None
    max_model_len: PositiveInt
    usable_blocks: PositiveInt
    block_size: PositiveInt
    watermark_blocks: NonNegativeInt = 0
    max_num_scheduled_tokens: PositiveInt
    scheduler_reserve_full_isl: bool
    load_inplace: list[str] | None = None


class Arrival(_Read):
    """A request, and the step in which it arrives."""

    id: NonNegativeInt
    step: NonNegativeInt
    prompt_tokens: PositiveInt
    output_tokens: PositiveInt
    adapter: str | None = None


class Recording(_Read):
    """A whole recording."""

    format: str
    engine: _Engine
    arrivals: list[Arrival]
    steps: list[RecordedStep]

    @property
    def asynchronous(self) -> bool:
        """Whether a batch was scheduled while the one before it ran."""
        return self.engine.scheduler_config.async_scheduling

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters that requests name."""
        return sorted({arrival.adapter for arrival in self.arrivals if arrival.adapter is not None})

    @property
    def policy(self) -> SchedulerPolicy:
        """The limits and switches of the recorded engine."""
        engine, scheduler = self.engine, self.engine.scheduler_config
        of_version = Scheduling.of_version(engine.vllm)
        return SchedulerPolicy(
            max_num_seqs=scheduler.max_num_seqs,
            max_num_batched_tokens=engine.max_num_scheduled_tokens,
            blocks=engine.usable_blocks,
            block_size=engine.block_size,
            max_loras=engine.lora_config.max_loras if engine.lora_config else 0,
            max_cpu_loras=engine.lora_config.max_cpu_loras if engine.lora_config else 0,
            max_num_active_seqs=scheduler.max_num_active_seqs,
            long_prefill_token_threshold=scheduler.long_prefill_token_threshold,
            long_prefill_token_threshold_adaptive=scheduler.long_prefill_token_threshold_adaptive,
            lone_prefill_is_unlimited=of_version.lone_prefill_is_unlimited,
            scheduler_reserve_full_isl=engine.scheduler_reserve_full_isl,
            watermark_blocks=engine.watermark_blocks,
            adapter_limit_counts_running=of_version.adapter_limit_counts_running,
            async_scheduling=scheduler.async_scheduling,
        )


def read_recording(path: Path) -> Recording:
    """The recording in a file.

    Raises:
        ConformanceError: it cannot be read, is no recording, or is one of an engine that is not simulated.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        recording = Recording.model_validate_json(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ConformanceError(f"{path.name}: it cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise ConformanceError(f"{path.name}: {where}: {first['msg']}") from error
    _require_consistent(path.name, recording)
    return recording


def _require_consistent(name: str, recording: Recording) -> None:
    if not recording.format.startswith(_FORMATS):
        raise ConformanceError(f"{name}: format: it must begin with {' or '.join(_FORMATS)}")
    if len({arrival.id for arrival in recording.arrivals}) < len(recording.arrivals):
        raise ConformanceError(f"{name}: arrivals: an id occurs twice")
    if recording.adapters and recording.engine.lora_config is None:
        raise ConformanceError(f"{name}: engine.lora_config: it is missing, though requests name adapters")
    for place, step in enumerate(recording.steps):
        if step.get("t") != place:
            raise ConformanceError(f"{name}: steps.{place}.t: it must be {place}, steps are numbered from 0")
        unknown = set(step.get("lora_apply", ())) - set(recording.adapters)
        if unknown:
            raise ConformanceError(f"{name}: steps.{place}.lora_apply: no request names {min(unknown)}")
    longest = recording.engine.max_model_len
    for arrival in recording.arrivals:
        blocks = -(-(arrival.prompt_tokens + arrival.output_tokens) // recording.engine.block_size)
        if arrival.prompt_tokens >= longest or blocks > recording.engine.usable_blocks:
            raise ConformanceError(f"{name}: arrivals: request {arrival.id} can never be served whole")
