"""What will be generated, known before it is: how many tokens, which words, and why they end.

Texts are made up, so nothing of them depends on the engine; only their timing does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from adapter_twin.emulator.tokens import (
    FIRST_WORD_TOKEN,
    WORDS,
    find_stop,
    stream_seed,
    text_of,
    words,
)
from adapter_twin.workload.lengths import Lognormal

if TYPE_CHECKING:
    from adapter_twin.emulator.sampling import Prompt, Sampling
    from adapter_twin.profile.model import TokenLengths

_TABULATED: Final = 4096
_WORD_CHARACTERS: Final = len(WORDS[0])


@dataclass(frozen=True)
class Output:
    """One answer."""

    tokens: int
    seed: int
    """Of its words."""
    finish_reason: str
    stop_reason: str | int | None
    characters: int
    """Where its text ends."""

    def text(self, tokens: int | None = None) -> str:
        """Its text, or that of its first tokens."""
        count = self.tokens if tokens is None else min(tokens, self.tokens)
        return text_of(words(self.seed, count))[: self.characters]


class Planner:
    """Draws output lengths from the profile's distribution; the same requests get the same answers."""

    def __init__(self, lengths: TokenLengths, seed: int) -> None:
        self._lengths = Lognormal(lengths.mean, lengths.sigma, lengths.minimum, lengths.maximum)
        self._seed = seed
        self._answers = 0

    def plan(self, prompt: Prompt, sampling: Sampling, model: str, place: int) -> Output:
        """The answer of number `place` to a prompt."""
        seed = stream_seed(self._seed, model, prompt.text, prompt.token_ids, place, self._draw(sampling))
        drawn = self._drawn_length(seed)
        tokens, reason, stop = sampling.max_tokens, "length", None
        if not sampling.ignore_eos and max(drawn, sampling.min_tokens) < tokens:
            tokens, reason = max(drawn, sampling.min_tokens), "stop"
        if sampling.stop or sampling.stop_token_ids:
            return _until_stopped(Output(tokens, seed, reason, stop, tokens * _WORD_CHARACTERS), sampling)
        return Output(tokens, seed, reason, stop, tokens * _WORD_CHARACTERS)

    def _draw(self, sampling: Sampling) -> int:
        """What tells apart answers to the same prompt: the seed asked for, or how many there were."""
        if sampling.greedy:
            return 0
        if sampling.seed is not None:
            return sampling.seed
        self._answers += 1
        return -self._answers

    def _drawn_length(self, seed: int) -> int:
        return int(_quantiles(self._lengths)[seed % _TABULATED])


@lru_cache(maxsize=8)
def _quantiles(lengths: Lognormal) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Lengths at equally likely places of the distribution, shape (_TABULATED,)."""
    return lengths.quantile((np.arange(_TABULATED) + 0.5) / _TABULATED)


def _until_stopped(output: Output, sampling: Sampling) -> Output:
    numbers = words(output.seed, output.tokens)
    for place, number in enumerate(numbers[sampling.min_tokens :], start=sampling.min_tokens):
        token = FIRST_WORD_TOKEN + number
        if token in sampling.stop_token_ids:
            return Output(place + 1, output.seed, "stop", token, place * _WORD_CHARACTERS)
    found = find_stop(
        text_of(numbers), sampling.stop, include=sampling.include_stop, after_tokens=sampling.min_tokens
    )
    if found is None:
        return output
    return Output(found.tokens, output.seed, "stop", found.stop, found.characters)
