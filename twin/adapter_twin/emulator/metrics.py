"""What vLLM shows of its engine on `/metrics`: names, types, labels and buckets are vLLM's.

Latencies are in emulated seconds: what the engine that is emulated would show.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from adapter_twin.emulator.metric_names import (
    CACHE_CONFIG,
    COUNTERS,
    GAUGES,
    HISTOGRAMS,
    LORA_INFO,
    WAITING_BY_REASON,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from prometheus_client.metrics_core import Metric

    from adapter_twin.live import LiveStep

MOST_LABEL_SETS: Final = 512
"""Of `vllm:lora_requests_info`; vLLM keeps all, and the twin has the pauses that come of it."""


class Histogram:
    """Counts by bucket."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self._bounds = np.asarray(buckets, dtype=np.float64)
        self._counts: NDArray[np.int64] = np.zeros(len(buckets) + 1, dtype=np.int64)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """One value, perhaps often."""
        self._counts[np.searchsorted(self._bounds, value)] += times
        self.total += value * times

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Many values."""
        places = np.searchsorted(self._bounds, values)
        self._counts += np.bincount(places, minlength=self._counts.size)
        self.total += float(values.sum())

    def cumulated(self) -> list[tuple[str, float]]:
        """Upper bounds, and how many values are not above."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        return list(zip(bounds, np.cumsum(self._counts).astype(float).tolist(), strict=True))


@dataclass(frozen=True)
class Shown:
    """Gauges of one moment."""

    running: int
    waiting: int
    deferred: int
    """Of the waiting: only because their adapters have no slot."""
    kv_usage: float
    preemptions: int


class EngineMetrics(Collector):
    """Counts what happens in the engine."""

    def __init__(self, model_name: str, max_loras: int, cache: Mapping[str, str], lora: bool) -> None:
        self._labels = {"engine": "0", "model_name": model_name}
        self._model_name = model_name
        self._max_loras = max_loras
        self._lora = lora
        self._cache = cache
        self._created = time.time()
        self.show: Callable[[], Shown] | None = None
        """Asked at every scrape."""
        self.counters: dict[tuple[str, str], float] = {
            (counter.name, value): 0.0 for counter in COUNTERS for value in counter.values
        }
        self.histograms = {row.name: Histogram(row.buckets) for row in HISTOGRAMS}
        self._lora_seen: OrderedDict[str, float] = OrderedDict()
        self._adapter: dict[int, str] = {}
        self._running: dict[str, int] = {}
        size = 1024
        self._prompt: NDArray[np.float64] = np.zeros(size)
        self._arrival_s: NDArray[np.float64] = np.zeros(size)
        self._began_s: NDArray[np.float64] = np.zeros(size)
        self._first_s: NDArray[np.float64] = np.zeros(size)
        self._last_s: NDArray[np.float64] = np.zeros(size)

    def count(self, name: str, amount: float = 1.0, value: str = "") -> None:
        """Add to a counter; `value` is that of its own label."""
        self.counters[name, value] += amount

    def submitted(self, request: int, at_s: float, prompt_tokens: int, adapter: str) -> None:
        """A request arrived; `adapter` is empty for the base model."""
        if request >= self._arrival_s.size:
            for name in ("_prompt", "_arrival_s", "_began_s", "_first_s", "_last_s"):
                setattr(self, name, np.resize(getattr(self, name), 2 * request))
        self._adapter[request] = adapter
        self._prompt[request] = prompt_tokens
        self._arrival_s[request] = at_s
        self._began_s[request] = self._first_s[request] = self._last_s[request] = np.nan

    def began(self, requests: NDArray[np.int64], start_s: float) -> None:
        """Requests left the queue for the first time."""
        self._began_s[requests] = start_s
        for request in requests.tolist():
            name = self._adapter.get(request, "")
            if name:
                self._running[name] = self._running.get(name, 0) + 1
        self._note_adapters()

    def delivered(self, step: LiveStep) -> None:
        """A step's tokens reached their clients."""
        requests, at_s = step.tokens, step.delivered_s
        last_s = self._last_s[requests]
        first = np.isnan(last_s)
        gaps = at_s - last_s[~first]
        self.histograms["vllm:inter_token_latency_seconds"].observe_all(gaps)
        if first.any():
            new = requests[first]
            self._first_s[new] = at_s
            self.histograms["vllm:time_to_first_token_seconds"].observe_all(at_s - self._arrival_s[new])
            self._prompted(float(self._prompt[new].sum()))
        self._last_s[requests] = at_s
        self.count("vllm:generation_tokens", len(requests))
        decoded = int((~first).sum())
        self.histograms["vllm:iteration_tokens_total"].observe(decoded + step.prefill_tokens)

    def _prompted(self, tokens: float) -> None:
        self.count("vllm:prompt_tokens", tokens)
        self.count("vllm:prompt_tokens_by_source", tokens, "local_compute")
        self.count("vllm:prefix_cache_queries", tokens)

    def gone(self, request: int) -> None:
        """A request is not in the engine any more."""
        name = self._adapter.pop(request, "")
        if name in self._running and not np.isnan(self._began_s[request]):
            self._running[name] -= 1
            if self._running[name] == 0:
                del self._running[name]
            self._note_adapters()

    def ended(self, request: int, *, prompt: int, generated: int, max_tokens: int, reason: str) -> None:
        """A request is over, and its client was told why."""
        self.gone(request)
        self.count("vllm:request_success", value=reason)
        arrival_s, began_s = self._arrival_s[request], self._began_s[request]
        first_s, last_s = self._first_s[request], self._last_s[request]
        observe = {name: histogram.observe for name, histogram in self.histograms.items()}
        observe["vllm:request_prompt_tokens"](prompt)
        observe["vllm:request_generation_tokens"](generated)
        observe["vllm:request_params_max_tokens"](max_tokens)
        observe["vllm:request_num_preemptions"](0)
        observe["vllm:request_prefill_kv_computed_tokens"](prompt)
        if np.isnan(last_s):
            return
        observe["vllm:e2e_request_latency_seconds"](last_s - arrival_s)
        observe["vllm:request_decode_time_seconds"](last_s - first_s)
        observe["vllm:request_time_per_output_token_seconds"]((last_s - first_s) / max(generated - 1, 1))
        if not np.isnan(began_s):
            observe["vllm:request_queue_time_seconds"](max(began_s - arrival_s, 0.0))
            observe["vllm:request_inference_time_seconds"](last_s - began_s)
            observe["vllm:request_prefill_time_seconds"](first_s - began_s)

    def asked(self, count: int, longest: int) -> None:
        """An answer of so many texts, the longest of so many tokens, is complete."""
        self.histograms["vllm:request_params_n"].observe(count)
        self.histograms["vllm:request_max_num_generation_tokens"].observe(longest)

    def _note_adapters(self) -> None:
        """VLLM shows the adapters of the running requests twice: as running, and as waiting."""
        if not self._lora:
            return
        shown = ",".join(self._running)
        self._lora_seen[shown] = time.time()
        self._lora_seen.move_to_end(shown)
        if len(self._lora_seen) > MOST_LABEL_SETS:
            self._lora_seen.popitem(last=False)

    def collect(self) -> Iterator[Metric]:
        """Prometheus asks."""
        shown = self.show() if self.show else Shown(0, 0, 0, 0.0, 0)
        self.counters["vllm:num_preemptions", ""] = shown.preemptions
        yield from self._gauges(shown)
        yield from self._counters()
        yield from self._histograms()
        yield self._lora_info()
        cache = GaugeMetricFamily(CACHE_CONFIG.name, CACHE_CONFIG.help)
        cache.add_sample(CACHE_CONFIG.name, {**self._cache, "engine": "0"}, 1.0)
        yield cache

    def _gauges(self, shown: Shown) -> Iterator[Metric]:
        by_reason = {"capacity": shown.waiting - shown.deferred, "deferred": shown.deferred}
        values: dict[str, dict[str, float]] = {
            "vllm:num_requests_running": {"": shown.running},
            "vllm:num_requests_waiting": {"": shown.waiting},
            WAITING_BY_REASON: dict(by_reason),
            "vllm:engine_sleep_state": {"awake": 1.0, "weights_offloaded": 0.0, "discard_all": 0.0},
            "vllm:kv_cache_usage_perc": {"": shown.kv_usage},
        }
        for row in GAUGES:
            family = GaugeMetricFamily(row.name, row.help)
            for value, number in values[row.name].items():
                own = {row.label: value} if row.label else {}
                family.add_sample(row.name, {**self._labels, **own}, number)
            yield family

    def _counters(self) -> Iterator[Metric]:
        for row in COUNTERS:
            family = CounterMetricFamily(row.name, row.help)
            base: dict[str, Any] = self._labels if row.by_engine else {"model_name": self._model_name}
            for value in row.values:
                labels = {**base, row.label: value} if row.label else dict(base)
                family.add_sample(f"{row.name}_total", labels, self.counters[row.name, value])
                family.add_sample(f"{row.name}_created", labels, self._created)
            yield family

    def _histograms(self) -> Iterator[Metric]:
        for row in HISTOGRAMS:
            yield histogram_family(
                row.name, row.help, [(self._labels, self.histograms[row.name])], self._created
            )

    def _lora_info(self) -> Metric:
        family = GaugeMetricFamily(LORA_INFO.name, LORA_INFO.help)
        for names, seen in self._lora_seen.items():
            labels = {"running_lora_adapters": names, "waiting_lora_adapters": names}
            family.add_sample(LORA_INFO.name, {"max_lora": str(self._max_loras), **labels}, seen)
        return family


def histogram_family(
    name: str, text: str, rows: Sequence[tuple[Mapping[str, str], Histogram]], created: float
) -> Metric:
    """Histograms of one name, with the samples that Prometheus' own client has."""
    family = HistogramMetricFamily(name, text)
    for labels, histogram in rows:
        buckets = histogram.cumulated()
        for bound, count in buckets:
            family.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
        family.add_sample(f"{name}_count", dict(labels), buckets[-1][1])
        family.add_sample(f"{name}_sum", dict(labels), histogram.total)
        family.add_sample(f"{name}_created", dict(labels), created)
    return family
