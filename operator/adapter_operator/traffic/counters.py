"""Counters of traffic by adapter, read from Envoy's statistics. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families

from adapter_operator.gateway.envoy.names import cluster_of_stat, split_cluster_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

STARTED: Final = "envoy_cluster_upstream_rq"
RETRIED: Final = "envoy_cluster_upstream_rq_retry"
OVER_LIMIT: Final = (
    "envoy_cluster_upstream_rq_active_overflow",
    "envoy_cluster_upstream_rq_pending_overflow",
)
NO_REPLICA: Final = "envoy_cluster_upstream_cx_none_healthy"
PROMPT_TOKENS: Final = "envoy_adaptwin_prompt_tokens"
OUTPUT_TOKENS: Final = "envoy_adaptwin_completion_tokens"
"""Names of counters, without the `_total` that some end with."""

_COUNTERS: Final = "rq_total|rq_retry|rq_active_overflow|rq_pending_overflow|cx_none_healthy"
FILTER: Final = rf"^(cluster\..*\.upstream_({_COUNTERS})|adaptwin\..*)$"
"""For `GET /stats/prometheus?usedonly&filter=…`: all statistics would be megabytes."""

_FIELDS: Final[Mapping[str, str]] = {
    STARTED: "started",
    RETRIED: "retried",
    **dict.fromkeys(OVER_LIMIT, "rejected"),
    NO_REPLICA: "rejected",
    PROMPT_TOKENS: "prompt_tokens",
    OUTPUT_TOKENS: "output_tokens",
}


@dataclass(frozen=True)
class Counters:
    """Of one model, since a gateway started.

    Attributes:
        started: Requests sent to a replica, repetitions included.
        retried: Those of them that were repetitions.
        rejected: Requests that no replica got: over the limit, or none was there.
        prompt_tokens: Of answered requests that told their usage.
        output_tokens: Likewise.
    """

    started: float = 0.0
    retried: float = 0.0
    rejected: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0

    @property
    def offered(self) -> float:
        """Requests that clients made. What a limit turned away was asked for too."""
        return self.started - self.retried + self.rejected


Models = dict[tuple[str, str], Counters]
"""By (virtual host, model)."""


def read_counters(text: str) -> Models:
    """The counters in a page of Envoy's statistics (Prometheus text format)."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            field, model = _FIELDS.get(sample.name.removesuffix("_total")), _model(sample.labels)
            if field is not None and model is not None:
                found[model][field] += sample.value
    return {model: Counters(**fields) for model, fields in found.items()}


def _model(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """The virtual host and the model of a statistic; None where it is of another cluster, or only a part."""
    if labels.keys() - {"cluster", "envoy_cluster_name"}:
        return None
    if "cluster" in labels:
        cluster = labels["cluster"]
    else:
        cluster = cluster_of_stat(labels.get("envoy_cluster_name", ""))
    host, model = split_cluster_name(cluster)
    return (host, model) if "|" in cluster else None


class Increments:
    """Turns readings of all gateways into what came since the round before."""

    def __init__(self) -> None:
        self._readings: dict[str, Models] = {}
        self._present: frozenset[str] | None = None

    def add(self, readings: Mapping[str, Models], gateways: Collection[str]) -> Models:
        """What came since the last round, by model, of all gateways together.

        A gateway that was not there in the round before is new, and all that it counted came since. One that
        was there and is read for the first time may have counted for long: it counts from the next round on.

        Args:
            readings: The counters of each gateway that answered.
            gateways: All gateways that there are.
        """
        came: Models = {}
        for name, models in readings.items():
            before = self._readings.get(name)
            if before is None and (self._present is None or name in self._present):
                continue
            for model, counters in models.items():
                since = difference(counters, (before or {}).get(model, Counters()))
                came[model] = total(came.get(model, Counters()), since)
        self._readings = {name: kept for name, kept in self._readings.items() if name in gateways}
        self._readings |= readings
        self._present = frozenset(gateways)
        return came


def total(*counters: Counters) -> Counters:
    """The sum of counters."""
    return Counters(
        started=sum(each.started for each in counters),
        retried=sum(each.retried for each in counters),
        rejected=sum(each.rejected for each in counters),
        prompt_tokens=sum(each.prompt_tokens for each in counters),
        output_tokens=sum(each.output_tokens for each in counters),
    )


def difference(now: Counters, before: Counters) -> Counters:
    """What came between two readings; counters that went back were reset, and count from zero."""
    if now.started < before.started or now.rejected < before.rejected:
        return now
    return replace(
        now,
        started=now.started - before.started,
        retried=max(0.0, now.retried - before.retried),
        rejected=now.rejected - before.rejected,
        prompt_tokens=max(0.0, now.prompt_tokens - before.prompt_tokens),
        output_tokens=max(0.0, now.output_tokens - before.output_tokens),
    )
