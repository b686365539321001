"""The figures of a report in words, for tables and pages alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.report import Report, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_twin.report import LatencySummary

WORST_ADAPTERS = 10

Row = tuple[str, str]


def headline(report: Report) -> str:
    """The outcome in one sentence."""
    if report.status is Status.OUT_OF_MEMORY:
        return f"Out of memory: {report.memory.reason}."
    return (
        f"{percent(report.served_fraction)} of the offered tokens served, "
        f"{report.throughput_tokens_per_s:,.0f} tokens/s."
    )


def starvation(report: Report, threshold: float) -> str:
    """Who starves, in one sentence; empty where there are no adapters."""
    adapters, starving = len(report.per_adapter.names), len(report.starving_adapters(threshold))
    if adapters == 0:
        return ""
    if starving == 0:
        return f"No adapter starves: each has at least {threshold:.0%} of its tokens served."
    verb = "starves" if starving == 1 else "starve"
    return f"{starving:,} of {adapters:,} adapters {verb} (served below {threshold:.0%})."


def cards(report: Report) -> list[tuple[str, str, str]]:
    """The figures to look at first: name, value, detail."""
    return [
        ("served fraction", percent(report.served_fraction), "of the tokens that could be served in time"),
        ("throughput", f"{report.throughput_tokens_per_s:,.0f}", "prompt and output tokens/s"),
        ("time to first token", seconds(report.ttft_s.p50), f"median; p99 {seconds(report.ttft_s.p99)}"),
        ("inter-token latency", seconds(report.itl_s.mean), f"mean; p99 {seconds(report.itl_s.p99)}"),
        ("queue", f"{report.waiting_mean:,.0f}", f"waiting, mean once warm; {report.waiting_max:,} at most"),
        ("batch", f"{report.running_mean:,.0f}", "running, mean once warm"),
        (
            "KV cache",
            percent(report.kv_usage_mean),
            f"in use, mean once warm; {percent(report.kv_usage_max)} at most",
        ),
    ]


def totals(report: Report) -> list[Row]:
    """What happened to the requests and to the replica."""
    return [
        ("offered requests", f"{report.offered_requests:,}"),
        ("completed", f"{report.completed_requests:,}"),
        ("running, waiting at the end", f"{report.running_requests:,}, {report.waiting_requests:,}"),
        ("rejected", f"{report.rejected_requests:,}"),
        ("throughput", f"{report.throughput_tokens_per_s:,.0f} tokens/s"),
        ("served fraction", percent(report.served_fraction)),
        ("KV cache", f"{report.memory.kv_cache_tokens:,} tokens"),
        ("KV cache used, mean and most", f"{percent(report.kv_usage_mean)}, {percent(report.kv_usage_max)}"),
        ("running requests, mean", f"{report.running_mean:,.1f}"),
        ("waiting requests, mean and most", f"{report.waiting_mean:,.1f}, {report.waiting_max:,}"),
        ("preemptions", f"{report.preemptions:,}"),
        ("adapter loads, from disk", f"{report.adapter_loads:,}, {report.adapter_disk_loads:,}"),
        ("engine steps", f"{report.steps:,}"),
    ]


def latencies(report: Report) -> list[tuple[str, LatencySummary]]:
    """Latencies by name."""
    return [
        ("time to first token", report.ttft_s),
        ("inter-token latency", report.itl_s),
        ("time per output token", report.tpot_s),
        ("end to end", report.e2e_s),
    ]


def worst_adapters(report: Report) -> Sequence[tuple[str, float, int, int]]:
    """The adapters with the lowest served fractions: name, fraction, requests completed and offered."""
    own = report.per_adapter
    order = np.argsort(own.served_fraction, kind="stable")[:WORST_ADAPTERS]
    return [
        (
            own.names[i],
            float(own.served_fraction[i]),
            int(own.completed_requests[i]),
            int(own.offered_requests[i]),
        )
        for i in order
    ]


def percent(fraction: float) -> str:
    """With one digit; what is not all is never rounded to 100.0%."""
    if not np.isfinite(fraction):
        return "–"
    return f"{min(fraction, 0.999) if fraction < 1 else fraction:.1%}"


def seconds(value: float) -> str:
    """Milliseconds below one second."""
    if not np.isfinite(value):
        return "–"
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:,.2f} s"
