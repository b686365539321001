"""From counts over time to the rate to plan for. Pure.

A rate is estimated from a count: n requests in t seconds leave a gamma distribution over the rate
(Jeffreys' prior), whose upper quantile is planned for. Over the whole window that is a steady estimate, but
one that a surge reaches late. So shorter and shorter windows, each half the one before, are looked at as
well, with their *lower* quantile: the rate that a surge has reached for all but certain. The largest of all
is planned for: it goes up as soon as the evidence does, and comes down when the window has passed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from scipy.special import gammaincinv

from adapter_operator.traffic.counters import Counters, Increments, Models, total

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SHORTEST_WINDOW_S: Final = 30.0
MISSED_ROUNDS: Final = 3
"""So many rounds in a row may lack a gateway before what was seen counts as incomplete."""


@dataclass(frozen=True)
class Tokens:
    """Mean lengths of requests.

    Attributes:
        prompt_mean: Prompt tokens per request.
        output_mean: Output tokens per request.
    """

    prompt_mean: float
    output_mean: float


@dataclass(frozen=True)
class Observation:
    """What is known of the traffic of one virtual host.

    Attributes:
        state: `Healthy`: a full window was seen; `Warming`: not yet; `Stale`: the latest rounds are missing.
        rates: Requests/s to plan for by model, where a full window was seen; models not in it sent nothing.
        tokens: Mean lengths over the window, where any usage was told.
        age_s: Seconds since the latest complete reading; infinite where there is none.
    """

    state: Literal["Healthy", "Warming", "Stale"]
    rates: Mapping[str, float] = field(default_factory=dict)
    tokens: Tokens | None = None
    age_s: float = float("inf")


@dataclass(frozen=True)
class _Slice:
    """What came between two rounds of readings."""

    start_s: float
    end_s: float
    models: Models


class DemandWindow:
    """Rounds of readings, and what they say of the rates."""

    def __init__(self, longest_window_s: float, interval_s: float) -> None:
        """A window without readings.

        Args:
            longest_window_s: How far back anybody will look.
            interval_s: Seconds between rounds.
        """
        self._longest_window_s = longest_window_s
        self._interval_s = interval_s
        self._increments = Increments()
        self._slices: deque[_Slice] = deque()
        self._seen_from_s: float | None = None
        self._seen_to_s = 0.0

    @property
    def _patience_s(self) -> float:
        """Without a complete round for so long, what was seen is not the whole any more."""
        return (MISSED_ROUNDS + 0.5) * self._interval_s

    def add(self, time_s: float, readings: Mapping[str, Models], gateways: Collection[str]) -> None:
        """Take one round of readings.

        Args:
            time_s: When.
            readings: Of each gateway that answered, its counters.
            gateways: All gateways that there are.
        """
        came = self._increments.add(readings, gateways)
        if gateways and set(gateways) <= readings.keys():
            if self._seen_from_s is None or time_s - self._seen_to_s > self._patience_s:
                self._seen_from_s = time_s
                self._slices.clear()
            self._seen_to_s = time_s
        if self._seen_from_s is not None and time_s > self._seen_from_s:
            start_s = self._slices[-1].end_s if self._slices else self._seen_from_s
            self._slices.append(_Slice(start_s, time_s, came))
        while self._slices and self._slices[0].end_s < time_s - self._longest_window_s - 2 * self._interval_s:
            self._slices.popleft()

    def observe(self, host: str, window_s: float, quantile: float, now_s: float) -> Observation:
        """What is known of a virtual host's traffic.

        Args:
            host: Its name.
            window_s: Seconds to look back, at most the longest window.
            quantile: Of the rate's distribution, in (0.5, 1), to plan for.
            now_s: The present.
        """
        if self._seen_from_s is None:
            return Observation("Warming")
        age_s = now_s - self._seen_to_s
        if age_s > self._patience_s:
            return Observation("Stale", age_s=age_s)
        if self._seen_to_s - self._seen_from_s < window_s - 0.5 * self._interval_s:
            return Observation("Warming", age_s=age_s)
        return Observation(
            "Healthy",
            self._rates(host, window_s, quantile),
            self._tokens(host, window_s),
            age_s,
        )

    def _rates(self, host: str, window_s: float, quantile: float) -> dict[str, float]:
        models = {model for part in self._slices for owner, model in part.models if owner == host}
        return {model: self._rate(host, model, window_s, quantile) for model in sorted(models)}

    def _rate(self, host: str, model: str, window_s: float, quantile: float) -> float:
        offered, seconds = self._offered(host, model, window_s)
        if offered <= 0.0 or seconds <= 0.0:
            return 0.0
        best = rate_quantile(offered, seconds, quantile)
        shorter = window_s / 2
        while shorter >= max(SHORTEST_WINDOW_S, 2 * self._interval_s):
            best = max(best, rate_quantile(*self._offered(host, model, shorter), 1.0 - quantile))
            shorter /= 2
        return best

    def _offered(self, host: str, model: str, window_s: float) -> tuple[float, float]:
        """Requests and seconds of the slices within the latest `window_s`."""
        parts = self._within(window_s)
        nothing = Counters()
        return (
            sum(part.models.get((host, model), nothing).offered for part in parts),
            sum(part.end_s - part.start_s for part in parts),
        )

    def _tokens(self, host: str, window_s: float) -> Tokens | None:
        counters = [
            counted
            for part in self._within(window_s)
            for (owner, _), counted in part.models.items()
            if owner == host
        ]
        all_of_it = total(*counters)
        answered = all_of_it.started - all_of_it.retried
        if all_of_it.prompt_tokens <= 0.0 or answered <= 0.0:
            return None
        return Tokens(all_of_it.prompt_tokens / answered, all_of_it.output_tokens / answered)

    def _within(self, window_s: float) -> list[_Slice]:
        slices = list(self._slices)
        begin = slices[-1].end_s - window_s - 0.5 * self._interval_s if slices else 0.0
        return slices[bisect_left(slices, begin, key=lambda part: part.start_s) :]


def rate_quantile(count: float, seconds: float, quantile: float) -> float:
    """The quantile of a rate's posterior distribution after `count` events in `seconds`, events/s."""
    if seconds <= 0.0:
        return 0.0
    return float(gammaincinv(max(0.0, count) + 0.5, quantile)) / seconds
