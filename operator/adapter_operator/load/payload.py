"""What is asked of the server: prompts of exact lengths that no cache knows, and how far to generate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter_operator.load.target import HIGHEST_TOKEN, LOWEST_TOKEN, Endpoint
from adapter_twin.workload.random_streams import stream

if TYPE_CHECKING:
    from adapter_operator.load.traffic import Traffic

_POOL: Final = 1 << 14
_WORDS: Final = (
    "time",
    "year",
    "people",
    "way",
    "day",
    "thing",
    "life",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "work",
    "question",
    "night",
    "point",
    "home",
    "water",
    "room",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "book",
)
"""Of one token each in most vocabularies."""


@dataclass(frozen=True)
class PayloadRules:
    """How requests are worded."""

    endpoint: Endpoint = Endpoint.COMPLETIONS
    base_model: str = ""
    """Name of the model for requests without an adapter."""
    ignore_eos: bool = True
    """Go on to `max_tokens` whatever the model generates; a field of vLLM's."""
    lowest_token: int = LOWEST_TOKEN
    highest_token: int = HIGHEST_TOKEN


class Payloads:
    """Bodies of requests; those of a seed are always the same, and no two prompts begin alike."""

    def __init__(self, traffic: Traffic, rules: PayloadRules, seed: int) -> None:
        self._rules = rules
        self._names = [*(adapter.name for adapter in traffic.adapters), rules.base_model]
        requests = traffic.requests
        self._adapter = requests.adapter.tolist()
        self._prompt_tokens = requests.prompt_tokens.tolist()
        self._output_tokens = requests.output_tokens.tolist()
        random = stream(seed, "load", "prompts")
        self._starts = random.integers(_POOL, size=requests.count).tolist()
        longest = int(requests.prompt_tokens.max(initial=0))
        tokens = random.integers(rules.lowest_token, rules.highest_token + 1, size=_POOL)
        if rules.endpoint is Endpoint.CHAT:
            pool = [_WORDS[token % len(_WORDS)] for token in tokens.tolist()]
        else:
            pool = [str(token) for token in tokens.tolist()]
        self._pool = pool * (2 + longest // _POOL)

    def model(self, request: int) -> str:
        """Whom it asks: the adapter, or the base model."""
        return self._names[int(self._adapter[request])]

    def body(self, request: int) -> bytes:
        """The body of one request, as JSON."""
        start = self._starts[request]
        words = self._pool[start : start + self._prompt_tokens[request]]
        asked = {
            "model": self.model(request),
            "max_tokens": self._output_tokens[request],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._rules.ignore_eos:
            asked["ignore_eos"] = True
        if self._rules.endpoint is Endpoint.CHAT:
            asked["messages"] = [{"role": "user", "content": " ".join(words)}]
            return json.dumps(asked).encode()
        return b'%b, "prompt": [%b]}' % (json.dumps(asked)[:-1].encode(), ",".join(words).encode())
