"""One request's answer, read from the pieces of its body as they come: pure, and cheap for ordinary tokens.

Of an ordinary token's event only a few bytes are looked at; JSON is parsed of the first events, of those that
end an answer, and of errors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from array import array

NAN: Final = float("nan")
DONE: Final = "[DONE]"
COMPLETE_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

_GOES_ON: Final = (b'"finish_reason":null', b'"finish_reason": null')
_MOST_ERROR_BYTES: Final = 1 << 16


@dataclass(slots=True)
class Record:
    """What became of one request; times in real seconds since the start."""

    request: int
    """Its place in the traffic."""
    due_s: float
    sent_s: float = NAN
    status: int = 0
    """Of HTTP; 0: none came."""
    first_s: float = NAN
    """First token."""
    last_s: float = NAN
    """Latest token."""
    gaps: int = 0
    """Between pieces of the stream that held tokens."""
    prompt_tokens: int = 0
    """As the server counts them; 0: it did not say."""
    output_tokens: int = 0
    finish_s: float = NAN
    """The end of the answer, or of waiting for it."""
    completed: bool = False
    failure: str = ""
    """Why it failed, in few words that others share."""
    message: str = ""
    """What the server said."""


class Answer:
    """Reads one answer into its record."""

    __slots__ = ("_event", "_finish_reason", "_gaps", "_rest", "_started", "record")

    def __init__(self, record: Record, gaps: array[float]) -> None:
        self.record = record
        self._gaps = gaps
        self._rest = b""
        self._started = False
        self._finish_reason: str | None = None

    def body(self, data: bytes, now_s: float) -> None:
        """A piece of the body."""
        if self.record.status != 200:
            self._rest = (self._rest + data)[:_MOST_ERROR_BYTES]
            return
        if b"\r" in data:  # an escape in JSON, so these are ends of lines
            data = data.replace(b"\r", b"")
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if self._started and (_GOES_ON[0] in event or _GOES_ON[1] in event):
                self._token(now_s)
            else:
                self._parse(event, now_s)

    def end(self, now_s: float) -> None:
        """The body is complete."""
        record = self.record
        record.finish_s = now_s
        if record.status != 200:
            self._refused()
        elif record.failure:
            pass
        elif self._finish_reason is None:
            record.failure = "stream ended early"
        elif self._finish_reason not in COMPLETE_REASONS:
            record.failure = f"finish_reason {self._finish_reason}"
        elif not self._started:
            record.failure = "no tokens"
        else:
            record.completed = True

    def broken(self, reason: str, now_s: float) -> None:
        """It ends before it is complete."""
        self.record.finish_s = now_s
        self.record.failure = self.record.failure or reason

    def _token(self, now_s: float) -> None:
        record = self.record
        if self._started:
            self._gaps.append(now_s - record.last_s)
            record.gaps += 1
        else:
            self._started = True
            record.first_s = now_s
        record.last_s = now_s
        record.output_tokens += 1

    def _parse(self, event: bytes, now_s: float) -> None:
        """An event that begins or ends the answer, or tells of usage or an error."""
        data = _data(event)
        if not data or data == DONE:
            return
        try:
            document = json.loads(data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            self.record.failure = "not an OpenAI stream"
        elif "error" in document:
            self._failed_midway(document["error"])
        else:
            self._choices(document.get("choices") or [], now_s)
            self._usage(document.get("usage"))

    def _choices(self, choices: list[dict[str, Any]], now_s: float) -> None:
        for choice in choices[:1]:
            if _holds_token(choice):
                self._token(now_s)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _usage(self, usage: dict[str, Any] | None) -> None:
        if usage:
            self.record.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.record.output_tokens = int(usage.get("completion_tokens") or self.record.output_tokens)

    def _failed_midway(self, error: Any) -> None:
        self.record.failure = "error in the stream"
        self.record.message = str(error.get("message", "") if isinstance(error, dict) else error)

    def _refused(self) -> None:
        self.record.failure, self.record.message = refusal(self.record.status, self._rest)


def refusal(status: int, body: bytes) -> tuple[str, str]:
    """An answer other than 200, as a reason that others share and what the server said of it."""
    try:
        document = json.loads(body)
    except ValueError:
        return f"HTTP {status}", body[:200].decode("utf-8", "replace").strip()
    error = document.get("error", document) if isinstance(document, dict) else document
    if not isinstance(error, dict):
        return f"HTTP {status}", str(error)
    kind = error.get("type") or ""
    return f"HTTP {status} {kind}".strip(), str(error.get("message") or "")


def _data(event: bytes) -> str:
    """An event's data; comments and other fields are ignored."""
    lines = event.decode("utf-8", "replace").split("\n")
    return "\n".join(line[5:].strip() for line in lines if line.startswith("data:"))


def _holds_token(choice: dict[str, Any]) -> bool:
    """Whether tokens came with it: not with chat's event that only names the role, nor with a bare end."""
    delta = choice.get("delta")
    if delta is None:
        return "text" in choice and choice.get("finish_reason") != "abort"
    said = any(delta.get(name) for name in ("content", "reasoning", "reasoning_content", "tool_calls"))
    return said or ("role" not in delta and "content" in delta)
