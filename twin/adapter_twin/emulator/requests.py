"""The bodies of requests as vLLM reads them; fields that change nothing here are taken and ignored.

The order of the fields is vLLM's: it is the order of the errors.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """Of any request."""

    model_config = ConfigDict(extra="ignore")


class StreamOptions(Body):
    """What a stream tells beside its text."""

    include_usage: bool | None = True
    continuous_usage_stats: bool | None = False


class GenerationRequest(Body):
    """What completions and chat completions have in common."""

    model: str | None = None


class CompletionRequest(GenerationRequest):
    """Body of `/v1/completions`."""

    prompt: list[int] | list[list[int]] | str | list[str] | None = None
    echo: bool | None = False
    frequency_penalty: float | None = 0.0
    logprobs: int | None = None
    max_tokens: int | None = 16
    n: int = 1
    presence_penalty: float | None = 0.0
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = []
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = []
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    prompt_logprobs: int | None = None
    request_id: str | None = None
    return_token_ids: bool | None = None


class ChatRequest(GenerationRequest):
    """Body of `/v1/chat/completions`."""

    messages: list[dict[str, Any]]
    frequency_penalty: float | None = 0.0
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    presence_penalty: float | None = 0.0
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = []
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    user: str | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = []
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    prompt_logprobs: int | None = None
    request_id: str | None = None


class LoadRequest(Body):
    """Body of `/v1/load_lora_adapter`."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadRequest(Body):
    """Body of `/v1/unload_lora_adapter`."""

    lora_name: str
    lora_int_id: int | None = None
