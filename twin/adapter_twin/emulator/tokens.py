"""Deterministic stand-ins for a tokenizer and a model: token counts are exact, words mean nothing.

A string counts as one token per four bytes, rounded up; a list of tokens as what it holds. Every generated
token is a word of three letters with a space before it: all are equally long, so that a stream's chunks are.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

BYTES_PER_TOKEN: Final = 4
LONGEST_TOKEN_CHARACTERS: Final = 7
"""No token stands for more characters: what vLLM asks its tokenizer before it tokenizes a long prompt."""
FIRST_WORD_TOKEN: Final = 3
LOGPROB: Final = -1.5

_CONSONANTS: Final = "bdfgklmnprstvz"
_VOWELS: Final = "aeiou"
WORDS: Final = tuple(f" {a}{b}{c}" for a in _CONSONANTS for b in _VOWELS for c in _CONSONANTS)
WORD_BYTES: Final = tuple(word.encode() for word in WORDS)

_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407
_MASK: Final = 2**64 - 1


def count_tokens(text: str) -> int:
    """Tokens of a text."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def prompt_token_ids(text: str) -> list[int]:
    """Token ids of a text: one for each four bytes."""
    data = text.encode("utf-8", "surrogatepass")
    return [
        FIRST_WORD_TOKEN + sum(data[i : i + BYTES_PER_TOKEN]) % len(WORDS)
        for i in range(0, len(data), BYTES_PER_TOKEN)
    ]


def stream_seed(*parts: object) -> int:
    """A seed that depends on nothing but the parts."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big")


@dataclass
class WordStream:
    """The words of one answer, one token after another."""

    state: int

    def next_word(self) -> int:
        """Number of the next word in `WORDS`."""
        self.state = (self.state * _MULTIPLIER + _INCREMENT) & _MASK
        return (self.state >> 33) % len(WORDS)


def words(seed: int, count: int) -> list[int]:
    """The first words of the stream of a seed."""
    stream = WordStream(seed)
    return [stream.next_word() for _ in range(count)]


def text_of(numbers: list[int]) -> str:
    """Their text."""
    return "".join([WORDS[number] for number in numbers])


@dataclass(frozen=True)
class StopFound:
    """A stop string, and where the text and the tokens end because of it."""

    stop: str
    tokens: int
    characters: int


def find_stop(text: str, stops: tuple[str, ...], *, include: bool, after_tokens: int = 0) -> StopFound | None:
    """The stop string that is completed first, by no token before `after_tokens`."""
    width = len(WORDS[0])
    found = None
    for stop in stops:
        start = text.find(stop)
        while start >= 0 and -(-(start + len(stop)) // width) <= after_tokens:
            start = text.find(stop, start + 1)
        if start >= 0 and (found is None or start + len(stop) < found[0]):
            found = (start + len(stop), start, stop)
    if found is None:
        return None
    end, start, stop = found
    return StopFound(stop, -(-end // width), end if include else start)
