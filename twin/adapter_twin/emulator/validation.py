"""From the bytes of a body to a request, or to the very error that vLLM answers."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from adapter_twin.emulator.errors import ApiError, bad_value
from adapter_twin.emulator.requests import Body, ChatRequest, CompletionRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RequestT = TypeVar("_RequestT", bound=Body)

_MOST_ERRORS: Final = 10
_UNION_MEMBER: Final = re.compile(r"^(str|int|float|bool)$|^(constrained|nullable|function)-|\[")
_ROLELESS: Final = (
    "ChatCompletionDeveloperMessageParam.role",
    "ChatCompletionSystemMessageParam.role",
    "ChatCompletionUserMessageParam.role",
    "ChatCompletionAssistantMessageParam.role",
    "ChatCompletionToolMessageParam.role",
    "ChatCompletionToolMessageParam.tool_call_id",
    "ChatCompletionFunctionMessageParam.name",
    "ChatCompletionFunctionMessageParam.role",
    "CustomChatCompletionMessageParam.role",
    "Message.author",
    "Message.content",
)
"""What vLLM misses in a message without a role: something of each of the forms that a message may have."""


class UnreadableBodyError(Exception):
    """A body that is not even text."""


def read_request(kind: type[_RequestT], content_type: str, body: bytes) -> _RequestT:
    """The request in a body.

    Raises:
        ApiError: it is not one; the body of the error is vLLM's.
        UnreadableBodyError: it is not UTF-8.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise _failed(["Unsupported Media Type: Only 'application/json' is allowed"], None)
    try:
        return kind.model_validate(_content(body))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        raise _invalid([_located(problem) for problem in problems]) from error


def _content(body: bytes) -> Any:
    try:
        content = json.loads(body) if body else None
    except UnicodeDecodeError as error:
        raise UnreadableBodyError from error
    except json.JSONDecodeError as error:
        problem = _problem("json_invalid", f"body.{error.pos}", "JSON decode error", {}, {"error": error.msg})
        raise _invalid([problem]) from error
    if content is None:
        raise _invalid([_problem("missing", "body", "Field required", None)])
    if not isinstance(content, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise _invalid([_problem("model_attributes_type", "body", message, content)])
    return content


def _located(problem: Mapping[str, Any]) -> dict[str, Any]:
    parts = [str(part) for part in problem["loc"] if not _UNION_MEMBER.search(str(part))]
    kind, message = problem["type"], problem["msg"]
    if kind == "model_type":
        kind = "model_attributes_type"
        message = "Input should be a valid dictionary or object to extract fields from"
        return _problem(kind, ".".join(["body", *parts]), message, problem["input"])
    return _problem(kind, ".".join(["body", *parts]), message, problem["input"], problem.get("ctx"))


def _problem(
    kind: str, place: str, message: str, value: Any, context: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    problem: dict[str, Any] = {"type": kind, "loc": place, "msg": message, "input": _shown(value)}
    if context:
        problem["ctx"] = dict(context)
    return problem


def _shown(value: Any) -> str:
    """Containers are only counted: bodies may be long and private."""
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)


def _invalid(problems: list[dict[str, Any]]) -> ApiError:
    return _failed([str(problem) for problem in problems], problems[0]["loc"])


def _failed(problems: list[str], param: str | None) -> ApiError:
    count = len(problems)
    lines = [f"{count} validation error{'s' if count > 1 else ''}:", *problems[:_MOST_ERRORS]]
    if count > _MOST_ERRORS:
        lines.append(f"...and {count - _MOST_ERRORS} more errors")
    return ApiError(HTTPStatus.BAD_REQUEST, "\n  ".join(lines), type_="Bad Request", param=param)


def check_completion(request: CompletionRequest) -> None:
    """What vLLM checks of a completion while it reads it.

    Raises:
        ApiError: something does not go together.
    """
    if request.prompt is None or request.prompt == "":
        raise bad_value("Either prompt or prompt_embeds must be provided and non-empty", "prompt")
    _check_stream_options(request)
    if request.logprobs is not None and request.logprobs < -1:
        raise bad_value("`logprobs` must be a positive value or -1", "logprobs", request.logprobs)


def check_chat(request: ChatRequest) -> None:
    """The same of a chat completion.

    Raises:
        ApiError: something does not go together.
    """
    for place, message in enumerate(request.messages):
        if "role" not in message:
            raise _invalid([*_roleless(place, message)])
    _check_stream_options(request)
    if request.top_logprobs and not request.logprobs:
        raise bad_value("when using `top_logprobs`, `logprobs` must be set to true", "top_logprobs")


def _roleless(place: int, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for missing in _ROLELESS:
        if missing.rpartition(".")[2] not in {"name", "tool_call_id"} & message.keys():
            yield _problem("missing", f"body.messages.{place}.{missing}", "Field required", dict(message))


def _check_stream_options(request: CompletionRequest | ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise bad_value("Stream options can only be defined when `stream=True`", "stream_options")
