"""One answer on its way: its texts are requests of the engine, and go out as their tokens come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from adapter_twin.emulator.answers import (
    DONE,
    EventWriter,
    Header,
    Result,
    StreamOptions,
    chat_body,
    compact,
    completion_body,
)
from adapter_twin.emulator.http import JSON, chunk
from adapter_twin.emulator.tokens import WORDS, WordStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter_twin.emulator.adapters import LoadedAdapter
    from adapter_twin.emulator.engine_loop import EngineLoop
    from adapter_twin.emulator.errors import ApiError
    from adapter_twin.emulator.http import Exchange
    from adapter_twin.emulator.planning import Output
    from adapter_twin.emulator.sampling import Prompt


class Text:
    """One text, which gets its tokens from the engine."""

    __slots__ = (
        "_answer", "_stream", "finish_reason", "index", "output", "prompt", "request", "tokens", "writer",
    )  # fmt: skip

    def __init__(self, answer: Answer, index: int, prompt: Prompt, output: Output) -> None:
        self._answer = answer
        self._stream = WordStream(output.seed)
        self.index = index
        self.prompt = prompt
        self.output = output
        self.request = -1
        self.tokens = 0
        self.finish_reason = ""
        self.writer: EventWriter | None = None

    def result(self) -> Result:
        """What there is of it."""
        return Result(self.prompt, self.output, self.tokens, self.finish_reason)

    def next_words(self, count: int) -> list[int]:
        """The words of its next tokens."""
        return [self._stream.next_word() for _ in range(count)]

    def deliver(self, tokens: int, *, last: bool) -> None:
        """Tokens have come."""
        self.tokens += tokens
        if last:
            self.finish_reason = self.output.finish_reason
        self._answer.came(self, tokens)

    def abort(self) -> None:
        """No more will come."""
        self.finish_reason = "abort"
        self._answer.came(self, 0)


class Answer(Protocol):
    """What texts belong to."""

    def came(self, text: Text, tokens: int) -> None:
        """A text got tokens, or its end."""


class Generation:
    """The texts of one answer, and the client who waits for them."""

    def __init__(
        self,
        exchange: Exchange,
        header: Header,
        prompts: Sequence[tuple[Prompt, Output]],
        options: StreamOptions,
        *,
        stream: bool,
        echo: bool,
        copies: int,
        on_text: Callable[[Text, Generation], None],
        on_gone: Callable[[Text], None],
        on_end: Callable[[Generation], None],
    ) -> None:
        self._exchange = exchange
        self._header = header
        self._options = options
        self._stream = stream
        self._echo = echo
        self._on_text = on_text
        self._on_gone = on_gone
        self._on_end = on_end
        self.texts = [Text(self, index, prompt, output) for index, (prompt, output) in enumerate(prompts)]
        self.copies = copies
        """Texts of each prompt."""
        self._open = len(self.texts)

    @property
    def prompt_tokens(self) -> int:
        """Of all prompts, each counted once."""
        return sum(text.prompt.tokens for text in self.texts[:: self.copies])

    @property
    def completion_tokens(self) -> int:
        """Of all texts so far."""
        return sum(text.tokens for text in self.texts)

    def start(self, engine: EngineLoop, adapter: LoadedAdapter | None) -> None:
        """Hand the texts to the engine."""
        self._exchange.on_gone = self._left
        if self._stream:
            self._open_stream()
        at_s = engine.clock.now_s()
        for text in self.texts:
            text.request = engine.submit(at_s, text.prompt.tokens, text.output.tokens, adapter, text)

    def refuse(self) -> None:
        """Answer with texts that ended before they began."""
        if self._stream:
            self._open_stream()
        for text in self.texts:
            text.abort()

    def fail(self, error: ApiError) -> None:
        """Answer with an error; a stream that has begun ends with it."""
        self._let_go("error")
        if self._stream:
            self._exchange.write(chunk(b"data: " + compact(error.body()) + b"\n\n") + DONE)
            self._exchange.end_stream()
        else:
            self._exchange.respond(error.status, compact(error.body()), JSON)

    def came(self, text: Text, tokens: int) -> None:
        """Send a stream's events; the last text's end is the answer's."""
        if self._stream:
            self._send(text, tokens)
        if text.finish_reason:
            self._open -= 1
            self._on_text(text, self)
            if self._open == 0:
                self._complete()

    def _open_stream(self) -> None:
        self._exchange.start_stream()
        for text in self.texts:
            text.writer = EventWriter(self._header, text.index, text.prompt.tokens, self._options)
        if self._options.chat:
            self._exchange.write(b"".join(text.writer.opening() for text in self.texts if text.writer))

    def _send(self, text: Text, tokens: int) -> None:
        writer = text.writer
        assert writer is not None  # noqa: S101 - streams have one from their start
        numbers = text.next_words(tokens)
        whole = text.tokens * len(WORDS[0]) <= text.output.characters
        if tokens == 1 and whole and writer.plain and not text.finish_reason and not self._echo:
            self._exchange.write(writer.token(numbers[0]))
            return
        shown = self._shown(text, numbers)
        prompt_ids = None
        if self._echo and text.tokens == tokens:
            shown, prompt_ids = text.prompt.shown + shown, text.prompt.ids
        finish = text.result() if text.finish_reason else None
        self._exchange.write(
            writer.event(shown, text.tokens, numbers=numbers, finish=finish, prompt_ids=prompt_ids)
        )

    @staticmethod
    def _shown(text: Text, numbers: list[int]) -> str:
        """The tokens' part of the text, which may end before they do."""
        end = text.output.characters - (text.tokens - len(numbers)) * len(WORDS[0])
        return "".join(WORDS[number] for number in numbers)[: max(end, 0)]

    def _complete(self) -> None:
        self._on_end(self)
        if not self._stream:
            self._exchange.respond(200, compact(self._body()), JSON)
            return
        writer = self.texts[0].writer
        if self._options.usage and writer is not None:
            self._exchange.write(writer.usage_event(self.prompt_tokens, self.completion_tokens))
        self._exchange.write(DONE)
        self._exchange.end_stream()

    def _body(self) -> dict[str, object]:
        results = [text.result() for text in self.texts]
        if self._options.chat:
            return chat_body(self._header, results, self.prompt_tokens, self._options.logprobs)
        return completion_body(
            self._header, results, self.prompt_tokens, echo=self._echo, logprobs=self._options.logprobs
        )

    def _left(self) -> None:
        """The client has gone."""
        self._let_go("abort")
        self._on_end(self)

    def _let_go(self, reason: str) -> None:
        """Want nothing more of the engine."""
        for text in self.texts:
            if not text.finish_reason and text.request >= 0:
                text.finish_reason = reason
                self._on_gone(text)
        self._open = 0
