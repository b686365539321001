"""The schema of a profile: a data file, no code. Times in seconds, memory in bytes, lengths in tokens."""

import hashlib
import json
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelGeometry(_Frozen):
    """The sizes of a decoder-only transformer that decide its memory and its LoRA wrappers."""

    name: str
    layers: PositiveInt
    hidden_size: PositiveInt
    query_size: PositiveInt = Field(description="attention heads × head dimension")
    kv_size: PositiveInt = Field(description="key-value heads × head dimension")
    intermediate_size: PositiveInt
    vocabulary_size: PositiveInt
    parameters: PositiveInt
    dtype_bytes: PositiveInt = 2
    max_model_len: PositiveInt
    lora_on_embeddings: bool = Field(description="the model class declares `embedding_modules`")

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights on all GPUs together."""
        return self.parameters * self.dtype_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token over all layers."""
        return 2 * self.layers * self.kv_size * self.dtype_bytes

    def lora_widths(self, tensor_parallel_size: int = 1) -> tuple[int, ...]:
        """The dimension beside the rank of every LoRA matrix of one layer on one GPU, in vLLM's order.

        A of a column-parallel projection and B of a row-parallel one are not split over the GPUs.
        """
        hidden, query = self.hidden_size, self.query_size // tensor_parallel_size
        kv = self.kv_size // tensor_parallel_size
        intermediate = self.intermediate_size // tensor_parallel_size
        qkv = (hidden, hidden, hidden, query, kv, kv)
        gate_up = (hidden, hidden, intermediate, intermediate)
        return (*qkv, query, hidden, *gate_up, intermediate, hidden)


class Gpu(_Frozen):
    """A GPU by its data sheet."""

    name: str
    memory_bytes: PositiveInt
    bandwidth_bytes_per_s: PositiveFloat
    flops_per_s: PositiveFloat = Field(description="dense, in the model's dtype")


class Scheduling(_Frozen):
    """Rules of vLLM's scheduler that differ between versions or are arguments; the defaults are 0.8.5's."""

    long_prefill_token_threshold: int = Field(
        default=0, ge=0, description="prompt tokens that one request computes in a step at most; 0: no limit"
    )
    long_prefill_token_threshold_adaptive: bool = Field(
        default=False, description="raise the threshold to a fair share of the token budget"
    )
    lone_prefill_is_unlimited: bool = Field(
        default=False, description="the only request there is may compute its whole prompt (newer versions)"
    )
    scheduler_reserve_full_isl: bool = Field(
        default=False, description="admit a request only if all its known tokens would fit"
    )
    watermark: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the blocks that admissions leave free while any request runs",
    )
    max_num_active_seqs: PositiveInt | None = Field(
        default=None, description="running requests at which none is admitted, if fewer than max_num_seqs"
    )
    adapter_limit_counts_running: bool = Field(
        default=False,
        description="max_loras limits the adapters of all running requests (0.33), not of a step's (before)",
    )
    async_scheduling: bool = Field(default=False, description="schedule a step while the one before it runs")
    scheduling_s: NonNegativeFloat = Field(
        default=0.0,
        description="what of a step's base time the host takes; asynchronous scheduling hides it, like the "
        "time for scanning the queue",
    )

    @classmethod
    def of_version(cls, version: str) -> "Scheduling":
        """What that version of vLLM does on a GPU unless told otherwise; known are 0.8.5, 0.32 and 0.33."""
        release = tuple(int(part) for part in version.split(".")[:2])
        newer = release >= (0, 32)
        return cls(
            lone_prefill_is_unlimited=newer,
            scheduler_reserve_full_isl=newer,
            async_scheduling=newer,
            adapter_limit_counts_running=release >= (0, 33),
        )


class EngineDefaults(_Frozen):
    """What this version of the engine does unless told otherwise; names are vLLM's."""

    kind: Literal["vllm"] = "vllm"
    version: str
    block_size: PositiveInt = 16
    max_num_seqs: PositiveInt
    max_num_batched_tokens: PositiveInt
    max_model_len: PositiveInt
    gpu_memory_utilization: float = Field(gt=0, le=1)
    lora_extra_vocab_size: int = Field(ge=0, description="rows that each slot holds for added tokens")
    max_connections: PositiveInt = Field(description="open requests above which clients stop connecting")
    scheduling: Scheduling = Scheduling()


class AllocatorCoefficients(_Frozen):
    """Memory that is neither weights, KV cache nor adapter slots."""

    logits_bytes_per_element: NonNegativeFloat = Field(
        description="peak bytes per element of the (max_num_seqs × vocabulary) logits when memory is profiled"
    )
    fixed_bytes: int = Field(description="context, activations and graphs that do not depend on the logits")
    extra_vocab_tensors: int = Field(
        ge=0, description="tensors of (lora_extra_vocab_size × hidden) that each slot holds"
    )


class StepTimeCoefficients(_Frozen):
    """Coefficients of the step time, in seconds; `adapter_twin.engine.step_time` says how they combine."""

    base: NonNegativeFloat = Field(description="a step with one decode and nothing else")
    per_decode: NonNegativeFloat = Field(description="per decoding request")
    per_kv_token: NonNegativeFloat = Field(description="per token of context read")
    per_prefill_token: NonNegativeFloat = Field(description="per prompt token computed")
    per_prefill: NonNegativeFloat = Field(description="per request with prompt tokens in the step")
    lora_base: NonNegativeFloat = Field(description="once a step holds any adapter")
    lora_per_rank: NonNegativeFloat = Field(description="per padded rank, once a step holds any adapter")
    lora_per_adapter: NonNegativeFloat = Field(description="per distinct adapter in the step")
    lora_per_adapter_split: NonNegativeFloat = Field(
        description="more per distinct adapter in a step of few tokens: kernels split finer"
    )
    lora_per_adapter_rank: NonNegativeFloat = Field(description="per distinct adapter and padded rank")
    lora_per_adapter_decode: NonNegativeFloat = Field(description="per distinct adapter and decode")
    lora_per_prefill_token: NonNegativeFloat = Field(description="per prompt token, with any adapter")
    lora_per_adapter_prefill_token: NonNegativeFloat = Field(description="per adapter and prompt token")
    lora_per_slot: NonNegativeFloat = Field(description="per slot: grids are launched for all of them")
    lora_per_slot_rank: NonNegativeFloat = Field(description="per slot and padded rank")
    per_waiting: NonNegativeFloat = Field(description="per waiting request, on the host")

    def vector(self) -> NDArray[np.float64]:
        """Shape (N_COEFFICIENTS,), in the order of the fields."""
        return np.array(list(self.model_dump().values()), dtype=np.float64)


class FrontEndCoefficients(_Frozen):
    """The API server's event loop, which stands still while it renders its metrics.

    `adapter_twin.engine.front_end` says why that takes long with many adapters.
    """

    scrape_interval_s: NonNegativeFloat = Field(description="how often users scrape; 0 means never")
    request_s: NonNegativeFloat = Field(description="from the client to the queue of an idle engine")
    render_per_label_set_s: NonNegativeFloat
    render_per_name_s: NonNegativeFloat
    tokenizer_s: NonNegativeFloat = Field(default=0.0, description="at the first request of each adapter")
    coalesce_below: int = Field(ge=0, description="outputs of a step below which waiting tokens merge")


class LoadingCoefficients(_Frozen):
    """How long the engine stands still while one adapter is loaded."""

    cpu_to_gpu_base_s: NonNegativeFloat
    cpu_to_gpu_per_padding_s: float = Field(description="added per unit of 1 − rank / max_lora_rank")
    disk_base_s: NonNegativeFloat
    disk_bytes_per_s: PositiveFloat


class TokenLengths(_Frozen):
    """A truncated lognormal; `mean` is that of the truncated distribution."""

    mean: PositiveFloat
    sigma: PositiveFloat = Field(description="standard deviation of the logarithm, before truncation")
    minimum: PositiveInt
    maximum: PositiveInt


class LengthAssumptions(_Frozen):
    """Token lengths, fitted where no request was measured; to be replaced by observed ones."""

    prompt: TokenLengths
    output: TokenLengths
    correlation: float = Field(gt=-1, lt=1, description="of the logarithms of prompt and output length")
    max_total_tokens: PositiveInt


class StartupTimes(_Frozen):
    """From a scheduled pod to a ready engine."""

    image_s: NonNegativeFloat
    weights_s: NonNegativeFloat
    compile_s: NonNegativeFloat


class ValidityRange(_Frozen):
    """What the measurements covered; outside it predictions extrapolate."""

    max_loras: tuple[int, int]
    max_lora_rank: tuple[int, int]
    adapters: tuple[int, int]
    offered_rate_rps: tuple[float, float]


class FitReport(_Frozen):
    """How well the profile meets what it was fitted to (SMAPE in 0–100, see `adapter_twin.validation`)."""

    source: str
    rows: int
    throughput_smape: float
    itl_smape: float
    tpot_smape: float
    ttft_smape: float


class Profile(_Frozen):
    """Everything the twin knows of one (model, GPU, tensor parallel size, engine version)."""

    schema_version: Literal["adaptwin.io/profile/v1"] = "adaptwin.io/profile/v1"
    name: str
    origin: Literal["calibrated", "derived"]
    safety_margin_percent: int = Field(ge=0, le=100, description="added to every plan's headroom")
    model: ModelGeometry
    gpu: Gpu
    tensor_parallel_size: PositiveInt = 1
    engine: EngineDefaults
    allocator: AllocatorCoefficients
    step_time: StepTimeCoefficients
    front_end: FrontEndCoefficients
    loading: LoadingCoefficients
    workload_defaults: LengthAssumptions
    startup: StartupTimes
    validity: ValidityRange
    fit: FitReport | None = None

    def coefficients(self) -> NDArray[np.float64]:
        """Coefficients of the step time for the compiled engine, shape (N_COEFFICIENTS,)."""
        return self.step_time.vector()

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of what decides predictions: everything but the report on the fit."""
        content = json.dumps(self.model_dump(mode="json", exclude={"fit"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def cpu_to_gpu_s(self, rank: int, max_lora_rank: int) -> float:
        """Seconds to copy one adapter from host memory to a slot padded to `max_lora_rank`."""
        padding = 1.0 - rank / max_lora_rank
        return self.loading.cpu_to_gpu_base_s + self.loading.cpu_to_gpu_per_padding_s * padding

    def disk_s(self, rank: int) -> float:
        """Seconds to read one adapter of `rank` from disk into host memory."""
        return self.loading.disk_base_s + self.adapter_bytes(rank) / self.loading.disk_bytes_per_s

    def adapter_bytes(self, rank: int) -> int:
        """Bytes of one adapter of `rank` over all linear layers."""
        return self.model.layers * rank * sum(self.model.lora_widths()) * self.model.dtype_bytes
