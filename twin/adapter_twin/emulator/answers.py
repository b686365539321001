"""Bodies of answers and events of streams, key for key as vLLM's."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapter_twin.emulator.http import chunk
from adapter_twin.emulator.tokens import LOGPROB, WORD_BYTES, WORDS, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_twin.emulator.adapters import LoadedAdapter
    from adapter_twin.emulator.planning import Output
    from adapter_twin.emulator.sampling import Prompt

DONE: Final = chunk(b"data: [DONE]\n\n")


def compact(content: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def new_id() -> str:
    """A random id."""
    return secrets.token_hex(8)


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Token counts."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def model_card(
    name: str, root: str, parent: str | None, max_model_len: int | None, created: int
) -> dict[str, Any]:
    """An entry of `/v1/models`."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": root,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [
            {
                "id": f"modelperm-{new_id()}",
                "object": "model_permission",
                "created": created,
                "allow_create_engine": False,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
    }


def model_list(
    names: Sequence[str], root: str, max_model_len: int, created: int, adapters: Sequence[LoadedAdapter]
) -> dict[str, Any]:
    """The body of `/v1/models`."""
    cards = [model_card(name, root, None, max_model_len, created) for name in names]
    cards += [model_card(one.name, one.path, names[0], None, one.created) for one in adapters]
    return {"object": "list", "data": cards}


@dataclass(frozen=True)
class Result:
    """One text of an answer, complete."""

    prompt: Prompt
    output: Output
    tokens: int
    """Fewer than the output's if it was aborted."""
    finish_reason: str

    @property
    def text(self) -> str:
        """What was generated."""
        return self.output.text(self.tokens)

    @property
    def stop_reason(self) -> str | int | None:
        """What it stopped at."""
        return self.output.stop_reason if self.finish_reason == "stop" else None


@dataclass(frozen=True)
class Header:
    """What all parts of an answer say."""

    answer_id: str
    created: int
    model: str
    fingerprint: str


def completion_body(
    header: Header, results: Sequence[Result], prompt_tokens: int, *, echo: bool, logprobs: int | None
) -> dict[str, Any]:
    """The body of a completion that is not streamed."""
    choices = [
        {
            "index": index,
            "text": (result.prompt.shown if echo else "") + result.text,
            "logprobs": None if logprobs is None else _completion_logprobs(result, logprobs),
            "finish_reason": result.finish_reason,
            "stop_reason": result.stop_reason,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        for index, result in enumerate(results)
    ]
    return {
        "id": header.answer_id,
        "object": "text_completion",
        "created": header.created,
        "model": header.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": header.fingerprint,
        "usage": _full_usage(results, prompt_tokens),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def chat_body(
    header: Header, results: Sequence[Result], prompt_tokens: int, logprobs: int | None
) -> dict[str, Any]:
    """The body of a chat completion that is not streamed."""
    choices = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": result.text,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            },
            "logprobs": None
            if logprobs is None
            else {"content": _chat_logprobs(words(result.output.seed, result.tokens), logprobs)},
            "finish_reason": result.finish_reason,
            "stop_reason": result.stop_reason,
            "token_ids": None,
            "routed_experts": None,
        }
        for index, result in enumerate(results)
    ]
    return {
        "id": header.answer_id,
        "object": "chat.completion",
        "created": header.created,
        "model": header.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": header.fingerprint,
        "usage": _full_usage(results, prompt_tokens),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def _full_usage(results: Sequence[Result], prompt_tokens: int) -> dict[str, Any]:
    counts = usage(prompt_tokens, sum(result.tokens for result in results))
    return {**counts, "prompt_tokens_details": None, "completion_tokens_details": None}


def _completion_logprobs(result: Result, alternatives: int) -> dict[str, Any]:
    texts = [WORDS[number] for number in words(result.output.seed, result.tokens)]
    return {
        "text_offset": [len(WORDS[0]) * place for place in range(len(texts))],
        "token_logprobs": [LOGPROB] * len(texts),
        "tokens": texts,
        "top_logprobs": [_alternatives(text, alternatives) for text in texts],
    }


def _alternatives(text: str, count: int) -> dict[str, float]:
    place = WORDS.index(text)
    others = (WORDS[(place + step) % len(WORDS)] for step in range(max(count, 1)))
    return {other: LOGPROB - step for step, other in enumerate(others)}


def _chat_logprobs(numbers: Sequence[int], alternatives: int) -> list[dict[str, Any]]:
    return [
        {
            **_chat_logprob(WORDS[number], LOGPROB),
            "top_logprobs": [
                _chat_logprob(text, value)
                for text, value in list(_alternatives(WORDS[number], alternatives).items())[:alternatives]
            ],
        }
        for number in numbers
    ]


def _chat_logprob(text: str, value: float) -> dict[str, Any]:
    return {"token": text, "logprob": value, "bytes": list(text.encode())}


@dataclass(frozen=True)
class StreamOptions:
    """What a stream tells beside its text."""

    chat: bool
    usage: bool
    continuous: bool
    logprobs: int | None


class EventWriter:
    """Makes the events of one text of a stream; those with one token and nothing else are nearly ready."""

    def __init__(self, header: Header, index: int, prompt_tokens: int, options: StreamOptions) -> None:
        self._header = header
        self._index = index
        self._prompt_tokens = prompt_tokens
        self._options = options
        self.plain = not options.continuous and options.logprobs is None
        """Whether `token` will do."""
        word = WORDS[0]
        head, _, tail = self.event(word, 0).partition(word.encode())
        self._head, self._tail = head, tail

    def token(self, number: int) -> bytes:
        """The chunk of one token."""
        return self._head + WORD_BYTES[number] + self._tail

    def opening(self) -> bytes:
        """The chunk that begins a chat message."""
        choice = {
            "index": self._index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
        more = {"usage": self._usage(0)} if self._options.continuous else {}
        return self._event([choice], {**more, "prompt_token_ids": None, "prompt_text": None})

    def event(
        self,
        text: str,
        generated: int,
        *,
        numbers: Sequence[int] = (),
        finish: Result | None = None,
        prompt_ids: list[int] | None = None,
    ) -> bytes:
        """The chunk of a text, the last one if it says why it ends."""
        choice = self._choice(text, numbers, finish, prompt_ids)
        more: dict[str, Any] = {}
        if self._options.continuous:
            more["usage"] = self._usage(generated)
        if finish is not None and not self._options.usage:
            more["system_fingerprint"] = self._header.fingerprint
        return self._event([choice], more)

    def usage_event(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """The chunk with the token counts of all texts."""
        counts = usage(prompt_tokens, completion_tokens)
        return self._event([], {"usage": counts, "system_fingerprint": self._header.fingerprint})

    def _choice(
        self, text: str, numbers: Sequence[int], finish: Result | None, prompt_ids: list[int] | None
    ) -> dict[str, Any]:
        reason = None if finish is None else finish.finish_reason
        stop = None if finish is None else finish.stop_reason
        logprobs = self._logprobs(numbers)
        if self._options.chat:
            last = {} if finish is None else {"stop_reason": stop}
            return {
                "index": self._index,
                "delta": {"content": text},
                "logprobs": logprobs,
                "finish_reason": reason,
                **last,
                "token_ids": None,
            }
        return {
            "index": self._index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": reason,
            "stop_reason": stop,
            "prompt_token_ids": prompt_ids,
            "token_ids": None,
        }

    def _logprobs(self, numbers: Sequence[int]) -> dict[str, Any] | None:
        if self._options.logprobs is None or not numbers:
            return None
        if self._options.chat:
            return {"content": _chat_logprobs(numbers, self._options.logprobs)}
        texts = [WORDS[number] for number in numbers]
        return {
            "text_offset": [0] * len(texts),
            "token_logprobs": [LOGPROB] * len(texts),
            "tokens": texts,
            "top_logprobs": [_alternatives(text, self._options.logprobs) for text in texts],
        }

    def _usage(self, generated: int) -> dict[str, Any]:
        counts = usage(self._prompt_tokens, generated)
        return {**counts, "completion_tokens_details": None} if self._options.chat else counts

    def _event(self, choices: list[dict[str, Any]], more: dict[str, Any]) -> bytes:
        content = {
            "id": self._header.answer_id,
            "object": "chat.completion.chunk" if self._options.chat else "text_completion",
            "created": self._header.created,
            "model": self._header.model,
            "choices": choices,
            **more,
        }
        return chunk(b"data: " + compact(content) + b"\n\n")
