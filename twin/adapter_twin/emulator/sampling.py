"""What a request asks to be generated: prompts and limits, checked as vLLM checks them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from adapter_twin.emulator.errors import ApiError, bad_value
from adapter_twin.emulator.tokens import LONGEST_TOKEN_CHARACTERS, count_tokens, prompt_token_ids

if TYPE_CHECKING:
    from adapter_twin.emulator.requests import ChatRequest, CompletionRequest

MOST_LOGPROBS: Final = 20


@dataclass(frozen=True)
class Prompt:
    """One prompt."""

    tokens: int
    text: str | None
    """None: it came as token ids."""
    token_ids: tuple[int, ...] = ()
    """Only of one that came as such."""

    @property
    def shown(self) -> str:
        """What `echo` repeats."""
        return self.text if self.text is not None else "".join(f" <{token}>" for token in self.token_ids)

    @property
    def ids(self) -> list[int]:
        """Token ids of either kind."""
        return list(self.token_ids) if self.text is None else prompt_token_ids(self.text)


@dataclass(frozen=True)
class Limits:
    """What the server allows."""

    max_model_len: int
    vocabulary_size: int


@dataclass(frozen=True)
class Sampling:
    """How far, and how often, to generate from each prompt."""

    max_tokens: int
    min_tokens: int
    count: int
    stop: tuple[str, ...]
    include_stop: bool
    stop_token_ids: frozenset[int]
    ignore_eos: bool
    seed: int | None
    """None: with a temperature above 0, no two answers are alike."""
    greedy: bool
    logprobs: int | None
    """Alternatives to show with each token; None: no log probabilities at all."""


def completion_prompts(request: CompletionRequest, limits: Limits) -> list[Prompt]:
    """The prompts of a completion.

    Raises:
        ApiError: there is none, or one is too long, or not of this vocabulary.
    """
    prompt = request.prompt
    parts: list[Any] = [prompt] if isinstance(prompt, str) else list(prompt or [])
    if not parts:
        raise ApiError(HTTPStatus.BAD_REQUEST, "You must pass at least one prompt")
    if isinstance(parts[0], int):
        parts = [parts]
    return [_prompt(part, limits) for part in parts]


def chat_prompt(request: ChatRequest, limits: Limits) -> Prompt:
    """The conversation as one prompt, as if the chat template added nothing.

    Raises:
        ApiError: it is empty or too long.
    """
    if not request.messages:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
        )
    text = "\n".join(filter(None, (_content_text(message.get("content")) for message in request.messages)))
    if not text:
        raise ApiError(HTTPStatus.BAD_REQUEST, "The decoder prompt cannot be empty")
    return _prompt(text, limits)


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def _prompt(part: str | list[int], limits: Limits) -> Prompt:
    if isinstance(part, str):
        most = limits.max_model_len * LONGEST_TOKEN_CHARACTERS
        if len(part) > most:
            raise _too_long(
                limits,
                f"{len(part)} characters (more than {most} characters, which is the upper bound for "
                f"{limits.max_model_len} input tokens)",
                "input_text",
                len(part),
            )
        prompt = Prompt(count_tokens(part), part)
    else:
        prompt = Prompt(len(part), None, tuple(part))
    if prompt.tokens > limits.max_model_len:
        raise _too_long(
            limits,
            f"{prompt.tokens} input tokens, which exceeds this limit even without any output tokens",
            "input_tokens",
            prompt.tokens,
        )
    outside = [token for token in prompt.token_ids if not 0 <= token < limits.vocabulary_size]
    if outside:
        raise ApiError(HTTPStatus.BAD_REQUEST, f"Token id {max(outside)} is out of vocabulary")
    return prompt


def _too_long(limits: Limits, contents: str, parameter: str, value: int) -> ApiError:
    return bad_value(
        f"This model's maximum context length is {limits.max_model_len} tokens. However, your prompt "
        f"contains {contents}. Please reduce the length of the input prompt",
        parameter,
        value,
    )


def completion_sampling(request: CompletionRequest, prompt_tokens: int, limits: Limits) -> Sampling:
    """What to generate for a completion whose longest prompt has so many tokens.

    Raises:
        ApiError: a parameter is out of its range.
    """
    if request.suffix is not None:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            "suffix is only supported for models with FIM completion rendering",
            param="suffix",
        )
    return _sampling(request, request.max_tokens, request.n, request.logprobs, prompt_tokens, limits)


def chat_sampling(request: ChatRequest, prompt_tokens: int, limits: Limits) -> Sampling:
    """The same for a chat completion.

    Raises:
        ApiError: a parameter is out of its range, or tools are asked for.
    """
    if request.tools and request.tool_choice in {None, "auto"}:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        )
    asked = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    return _sampling(request, asked, 1 if request.n is None else request.n, logprobs, prompt_tokens, limits)


def _sampling(
    request: CompletionRequest | ChatRequest,
    max_tokens: int | None,
    count: int,
    logprobs: int | None,
    prompt_tokens: int,
    limits: Limits,
) -> Sampling:
    if max_tokens is not None and max_tokens > limits.max_model_len:
        raise bad_value(
            f"max_tokens={max_tokens} cannot be greater than max_model_len={limits.max_model_len}. "
            "Please request fewer output tokens",
            "max_tokens",
            max_tokens,
        )
    room = limits.max_model_len - prompt_tokens
    max_tokens = room if max_tokens is None else min(max_tokens, room)
    _check_ranges(request, count)
    _check_lengths(request, max_tokens, logprobs)
    greedy = request.temperature == 0.0
    if greedy and count > 1:
        raise ApiError(HTTPStatus.BAD_REQUEST, f"n must be 1 when using greedy sampling, got {count}.")
    return Sampling(
        max_tokens=max_tokens,
        min_tokens=request.min_tokens,
        count=count,
        stop=_stops(request),
        include_stop=request.include_stop_str_in_output,
        stop_token_ids=frozenset(request.stop_token_ids or ()),
        ignore_eos=request.ignore_eos,
        seed=request.seed,
        greedy=greedy,
        logprobs=None if logprobs is None else max(logprobs, 0),
    )


def _check_ranges(request: CompletionRequest | ChatRequest, count: int) -> None:
    if count < 1:
        raise ApiError(HTTPStatus.BAD_REQUEST, f"n must be at least 1, got {count}.")
    for name in ("presence_penalty", "frequency_penalty"):
        value = getattr(request, name)
        if value is not None and not -2 <= value <= 2:
            raise bad_value(f"{name} must be in [-2, 2], got {value}", name, value)
    repetition = request.repetition_penalty
    if repetition is not None and repetition <= 0:
        raise bad_value(
            f"repetition_penalty must be greater than zero, got {repetition}",
            "repetition_penalty",
            repetition,
        )
    _check_temperature(request.temperature)
    if request.top_p is not None and not 0 < request.top_p <= 1:
        raise bad_value(f"top_p must be in (0, 1], got {request.top_p}", "top_p", request.top_p)
    if request.top_k is not None and request.top_k < -1:
        raise bad_value(
            f"top_k must be 0 (disable), or at least 1, got {request.top_k}", "top_k", request.top_k
        )
    if request.min_p is not None and not 0 <= request.min_p <= 1:
        raise bad_value(f"min_p must be in [0, 1], got {request.min_p}", "min_p", request.min_p)


def _check_temperature(temperature: float | None) -> None:
    if temperature is None:
        return
    if temperature < 0:
        raise bad_value(f"temperature must be non-negative, got {temperature}", "temperature", temperature)
    if temperature > 2:
        raise bad_value(f"temperature must be in [0, 2], got {temperature}", "temperature", temperature)


def _check_lengths(request: CompletionRequest | ChatRequest, max_tokens: int, logprobs: int | None) -> None:
    if max_tokens < 1:
        raise bad_value(f"max_tokens must be at least 1, got {max_tokens}", "max_tokens", max_tokens)
    if request.min_tokens < 0:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"min_tokens must be greater than or equal to 0, got {request.min_tokens}.",
        )
    if request.min_tokens > max_tokens:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {request.min_tokens}.",
        )
    if logprobs is not None and logprobs > MOST_LOGPROBS:
        raise bad_value(
            f"Requested sample logprobs of {logprobs}, which is greater than max allowed: {MOST_LOGPROBS}",
            "logprobs",
            logprobs,
        )
    if "" in _stops(request):
        raise ApiError(HTTPStatus.BAD_REQUEST, "stop cannot contain an empty string.")


def _stops(request: CompletionRequest | ChatRequest) -> tuple[str, ...]:
    return (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
