"""The schema of a profile of S-LoRA: one pool of tokens instead of slots, and coefficients of its own."""

import hashlib
import json
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from adapter_twin.profile.model import FitReport, Gpu, LengthAssumptions, ModelGeometry, StartupTimes

PAGES_PER_RANK = 4
"""One token of the pool holds one row of A and one of B of a projection; q, k, v and o have adapters."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SloraEngine(_Frozen):
    """What the server does unless told otherwise; names are S-LoRA's."""

    kind: Literal["slora"] = "slora"
    version: str
    max_total_token_num: PositiveInt = Field(description="tokens of the pool, for KV cache and adapters")
    batch_max_tokens: PositiveInt | None = Field(
        default=None,
        description="prompt tokens of one prefill; None: a sixth of the pool, the server's own",
    )
    running_max_req_size: PositiveInt = 1000
    max_wait_tokens: PositiveInt = Field(default=10, description="decoding steps between two admissions")
    max_req_input_len: PositiveInt = 2048
    max_req_total_len: PositiveInt = 3072
    max_new_tokens: NonNegativeInt = Field(
        default=0, description="that every request asks for and the router reserves; 0: what it will generate"
    )
    idle_poll_s: NonNegativeFloat = Field(default=0.01, description="between looks at an empty queue")
    max_connections: PositiveInt = Field(description="open requests above which clients cannot connect")

    @property
    def prefill_token_limit(self) -> int:
        """Prompt tokens that one prefill holds at most."""
        return self.batch_max_tokens or max(self.max_total_token_num // 6, self.max_req_total_len)


class SloraStepTime(_Frozen):
    """Coefficients in seconds; `adapter_twin.slora.step_time` says how they combine."""

    base: NonNegativeFloat = Field(description="a decoding step: weights read, kernels launched")
    per_decode: NonNegativeFloat = Field(description="per decoding request, mostly on the host")
    per_pool_token: NonNegativeFloat = Field(
        description="per token of the pool read: of context, or of an active adapter, which are of one size"
    )
    crowded: NonNegativeFloat = Field(
        description="a decoding step while the pool has no room for the next request: the router has looked "
        "in vain, and memory for the new tokens is scattered"
    )
    prefill_base: NonNegativeFloat = Field(description="a prefill: weights read, batches merged")
    per_prefill_token: NonNegativeFloat
    per_loaded_page: NonNegativeFloat = Field(description="per page copied from host memory before a prefill")

    def vector(self) -> NDArray[np.float64]:
        """Shape (7,), in the order of the fields."""
        return np.array(list(self.model_dump().values()), dtype=np.float64)


class SloraFrontEnd(_Frozen):
    """The HTTP server's event loop, which every open connection keeps busy."""

    request_s: NonNegativeFloat = Field(description="from the client to the queue")
    merge_per_connection: NonNegativeFloat = Field(
        description="part of a stream's chunks that come together with the one before, per open request"
    )


class SloraValidity(_Frozen):
    """What the measurements covered; outside it predictions extrapolate."""

    adapters: tuple[int, int]
    max_lora_rank: tuple[int, int] = Field(description="largest rank of the adapters")
    offered_rate_rps: tuple[float, float]


class SloraProfile(_Frozen):
    """Everything the twin knows of one (model, GPU) served by S-LoRA."""

    schema_version: Literal["adaptwin.io/slora-profile/v1"] = "adaptwin.io/slora-profile/v1"
    name: str
    origin: Literal["calibrated"] = "calibrated"
    model: ModelGeometry
    gpu: Gpu
    engine: SloraEngine
    step_time: SloraStepTime
    front_end: SloraFrontEnd
    workload_defaults: LengthAssumptions
    startup: StartupTimes
    validity: SloraValidity
    fit: FitReport | None = None

    def coefficients(self) -> NDArray[np.float64]:
        """Coefficients of the step time for the compiled engine, shape (7,)."""
        return self.step_time.vector()

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of what decides predictions: everything but the report on the fit."""
        content = json.dumps(self.model_dump(mode="json", exclude={"fit"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
