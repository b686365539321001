"""What vLLM's API server shows of its HTTP requests, as its instrumentator does."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from adapter_twin.emulator.metrics import Histogram, histogram_family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

_EXCLUDED: Final = re.compile("/metrics|/health|/load|/ping|/version|/server_info")
"""Searched for anywhere in the path: so loads of adapters are not counted, but unloads are."""
_FEW: Final = (0.1, 0.5, 1.0)
_MANY: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0,
    30.0, 60.0,
)  # fmt: skip


class HttpMetrics(Collector):
    """Counts requests, in real seconds."""

    def __init__(self) -> None:
        self._created = time.time()
        self._requests: dict[tuple[str, str, str], int] = {}
        self._sizes: dict[str, list[float]] = {}
        """By handler: how many, bytes in, bytes out."""
        self._latency = Histogram(_MANY)
        self._by_handler: dict[tuple[str, str], Histogram] = {}

    def observe(
        self, path: str, method: str, status: int, received_bytes: int, sent_bytes: int, seconds: float,
        *, known: bool,
    ) -> None:  # fmt: skip
        """A request was answered; `known`: there is something of that path and method."""
        if _EXCLUDED.search(path):
            return
        handler = path if known else "none"
        key = (handler, method, f"{status // 100}xx")
        self._requests[key] = self._requests.get(key, 0) + 1
        sizes = self._sizes.setdefault(handler, [0, 0, 0])
        sizes[0] += 1
        sizes[1] += received_bytes
        sizes[2] += sent_bytes
        self._latency.observe(seconds)
        self._by_handler.setdefault((handler, method), Histogram(_FEW)).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Prometheus asks."""
        requests = CounterMetricFamily(
            "http_requests", "Total number of requests by method, status and handler."
        )
        for (handler, method, status), count in self._requests.items():
            labels = {"handler": handler, "method": method, "status": status}
            requests.add_sample("http_requests_total", labels, count)
            requests.add_sample("http_requests_created", labels, self._created)
        yield requests
        yield self._size("http_request_size_bytes", 1, "incoming requests")
        yield self._size("http_response_size_bytes", 2, "outgoing responses")
        yield histogram_family(
            "http_request_duration_highr_seconds",
            "Latency with many buckets but no API specific labels. Made for more accurate percentile "
            "calculations. ",
            [({}, self._latency)],
            self._created,
        )
        yield histogram_family(
            "http_request_duration_seconds",
            "Latency with only few buckets by handler. Made to be only used if aggregation by handler is "
            "important. ",
            [
                ({"handler": handler, "method": method}, histogram)
                for (handler, method), histogram in self._by_handler.items()
            ],
            self._created,
        )

    def _size(self, name: str, column: int, what: str) -> Metric:
        family = SummaryMetricFamily(
            name,
            f"Content length of {what} by handler. Only value of header is respected. Otherwise ignored. "
            "No percentile calculated. ",
        )
        for handler, sizes in self._sizes.items():
            labels = {"handler": handler}
            family.add_sample(f"{name}_count", labels, sizes[0])
            family.add_sample(f"{name}_sum", labels, sizes[column])
            family.add_sample(f"{name}_created", labels, self._created)
        return family
