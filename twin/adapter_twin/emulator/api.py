"""Completions and chat completions: from a request's body to the engine, and back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from adapter_twin.emulator.answers import Header, StreamOptions, new_id
from adapter_twin.emulator.errors import ApiError
from adapter_twin.emulator.generation import Generation, Text
from adapter_twin.emulator.planning import Planner
from adapter_twin.emulator.requests import ChatRequest, CompletionRequest
from adapter_twin.emulator.sampling import (
    Limits,
    Prompt,
    Sampling,
    chat_prompt,
    chat_sampling,
    completion_prompts,
    completion_sampling,
)
from adapter_twin.emulator.validation import check_chat, check_completion, read_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_twin.emulator.adapters import LoadedAdapter
    from adapter_twin.emulator.engine_loop import EngineLoop
    from adapter_twin.emulator.flags import Settings
    from adapter_twin.emulator.http import Exchange, Request
    from adapter_twin.emulator.metrics import EngineMetrics
    from adapter_twin.emulator.starting import Started


class GenerationApi:
    """Answers completions with texts that the engine times."""

    def __init__(
        self, settings: Settings, started: Started, engine: EngineLoop, metrics: EngineMetrics
    ) -> None:
        self._names = settings.names
        self._adapters = started.adapters
        self._engine = engine
        self._metrics = metrics
        self._limits = Limits(started.max_model_len, started.profile.model.vocabulary_size)
        self._planner = Planner(started.profile.workload_defaults.output, settings.seed)
        self._fingerprint = f"vllm-{settings.version}-{started.profile.content_hash[:8]}"
        self.open: dict[Generation, Sampling] = {}
        """Answers on their way."""
        self.idle = asyncio.Event()
        """None is."""
        self.idle.set()
        self.draining = False

    def complete(self, request: Request, exchange: Exchange) -> None:
        """`/v1/completions`.

        Raises:
            ApiError: the request is not one.
        """
        asked = read_request(CompletionRequest, request.headers.get("content-type", ""), request.body)
        check_completion(asked)
        adapter, model = self._model(asked.model)
        prompts = completion_prompts(asked, self._limits)
        sampling = completion_sampling(asked, max(prompt.tokens for prompt in prompts), self._limits)
        options = _stream_options(asked, chat=False, logprobs=sampling.logprobs)
        header = self._header("cmpl", request, asked.request_id, model)
        self._generate(
            exchange, header, prompts, sampling, options, adapter,
            stream=bool(asked.stream), echo=bool(asked.echo),
        )  # fmt: skip

    def chat(self, request: Request, exchange: Exchange) -> None:
        """`/v1/chat/completions`.

        Raises:
            ApiError: the request is not one.
        """
        asked = read_request(ChatRequest, request.headers.get("content-type", ""), request.body)
        check_chat(asked)
        adapter, model = self._model(asked.model)
        prompt = chat_prompt(asked, self._limits)
        sampling = chat_sampling(asked, prompt.tokens, self._limits)
        options = _stream_options(asked, chat=True, logprobs=sampling.logprobs)
        header = self._header("chatcmpl", request, asked.request_id, model)
        self._generate(
            exchange, header, [prompt], sampling, options, adapter, stream=bool(asked.stream), echo=False
        )

    def fail_all(self, error: ApiError) -> None:
        """The engine has died: answer everything that is open with an error."""
        for generation in list(self.open):
            generation.fail(error)
            self._closed(generation)

    def _model(self, name: str | None) -> tuple[LoadedAdapter | None, str]:
        """The adapter that a request names, None for the base model, and the name to answer under."""
        if not name or name in self._names:
            return None, name or self._names[0]
        adapter = self._adapters.get(name)
        if adapter is None:
            aliases = ", ".join(self._names)
            raise ApiError(
                404, f"The model `{name}` does not exist. Valid aliases: {aliases}.", param="model"
            )
        return adapter, name

    def _header(self, kind: str, request: Request, asked_id: str | None, model: str) -> Header:
        answer_id = request.headers.get("x-request-id") or asked_id or new_id()
        return Header(f"{kind}-{answer_id}", int(time.time()), model, self._fingerprint)

    def _generate(
        self,
        exchange: Exchange,
        header: Header,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        options: StreamOptions,
        adapter: LoadedAdapter | None,
        *,
        stream: bool,
        echo: bool,
    ) -> None:
        planned = [
            (prompt, self._planner.plan(prompt, sampling, header.model, place))
            for prompt in prompts
            for place in range(sampling.count)
        ]
        generation = Generation(
            exchange, header, planned, options, stream=stream, echo=echo, copies=sampling.count,
            on_text=self._text_over, on_gone=self._text_gone, on_end=self._over,
        )  # fmt: skip
        self.open[generation] = sampling
        self.idle.clear()
        if self.draining:
            generation.refuse()
        else:
            generation.start(self._engine, adapter)

    def _text_over(self, text: Text, generation: Generation) -> None:
        if text.request < 0:
            return
        self._metrics.ended(
            text.request,
            prompt=text.prompt.tokens,
            generated=text.tokens,
            max_tokens=self.open[generation].max_tokens,
            reason=text.finish_reason,
        )

    def _text_gone(self, text: Text) -> None:
        self._engine.abort(text.request)
        self._metrics.gone(text.request)

    def _closed(self, generation: Generation) -> None:
        self.open.pop(generation, None)
        if not self.open:
            self.idle.set()

    def _over(self, generation: Generation) -> None:
        self._closed(generation)
        self._metrics.asked(generation.copies, max(text.tokens for text in generation.texts))


def _stream_options(
    asked: CompletionRequest | ChatRequest, *, chat: bool, logprobs: int | None
) -> StreamOptions:
    told = asked.stream_options
    return StreamOptions(
        chat=chat,
        usage=bool(told and told.include_usage),
        continuous=bool(told and told.include_usage and told.continuous_usage_stats),
        logprobs=logprobs,
    )
