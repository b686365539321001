"""A measurement as text, and every request as CSV."""

from __future__ import annotations

import csv
import math
from typing import IO, TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from adapter_twin.rendering.figures import percent, seconds
from adapter_twin.slo import STARVATION_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from adapter_operator.load.answers import Record
    from adapter_operator.load.comparison import Compared
    from adapter_operator.load.measuring import Client, Figures, Measured
    from adapter_operator.load.payload import Payloads
    from adapter_operator.load.traffic import Traffic

SHOWN_ADAPTERS = 20
SHOWN_CHARACTERS = 80
CSV_COLUMNS = (
    "adapter",
    "arrival_time",
    "sent_time",
    "first_token_time",
    "last_token_time",
    "prompt_tokens",
    "output_tokens",
    "status",
    "outcome",
    "reason",
)


def render(console: Console, measured: Measured, predicted: Sequence[Compared] = ()) -> None:
    """Everything a person looks at."""
    total = measured.total
    console.print(f"[bold]{_headline(total)}[/bold]")
    if measured.interrupted:
        console.print(f"Interrupted after {total.end_s:,.1f} s; these are the figures until then.")
    console.print(_totals(measured))
    console.print(_latencies(total))
    if measured.phases:
        console.print(_phases(measured.phases))
    if measured.failures:
        console.print(_failures(measured))
    if measured.per_adapter.names:
        console.print(_adapters(measured))
    if predicted:
        console.print(_comparison(predicted))


def client_warnings(client: Client) -> tuple[str, ...]:
    """What makes the figures doubtful, because the client was not where it should have been."""
    warnings = []
    if not client.kept_up:
        late = f"{client.late_requests:,} of {client.sent_requests:,} requests went out more than "
        late += f"{1000 * client.late_after_s:g} ms late (p99 {1000 * client.lateness_p99_s:,.0f} ms)"
        unsent = f", {client.unsent_requests:,} not at all" if client.unsent_requests else ""
        warnings.append(f"the client is the bottleneck: {late}{unsent}; the traffic was not open-loop")
    if client.held_back_requests:
        warnings.append(
            f"{client.held_back_requests:,} requests waited for others to end; raise --max-inflight"
        )
    if client.cpu_share > 0.9:
        warnings.append(
            f"the client used {client.cpu_share:.0%} of a core, so latencies include its own; "
            "send with several, each with a part of the traffic"
        )
    return tuple(warnings)


def write_requests(
    file: IO[str], records: Iterable[Record], traffic: Traffic, payloads: Payloads, speed_up: float
) -> None:
    """One row per request, by arrival; times in seconds of the served system, empty where there is none."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for record in sorted(records, key=lambda record: record.request):
        place = record.request
        times = (record.due_s, record.sent_s, record.first_s, record.last_s)
        outcome = "failed" if record.failure else "completed" if record.completed else "unfinished"
        writer.writerow(
            (
                payloads.model(place),
                *("" if math.isnan(time_s) else f"{time_s * speed_up:.6f}" for time_s in times),
                record.prompt_tokens or int(traffic.requests.prompt_tokens[place]),
                record.output_tokens,
                record.status or "",
                outcome,
                record.failure,
            )
        )


def _headline(total: Figures) -> str:
    return (
        f"{percent(total.served_fraction)} of the offered tokens served, "
        f"{total.throughput_tokens_per_s:,.0f} tokens/s."
    )


def _totals(measured: Measured) -> Table:
    total, client = measured.total, measured.client
    rows = [
        ("duration", f"{total.end_s:,.1f} s"),
        ("offered requests", f"{total.offered_requests:,}"),
        ("completed", f"{total.completed_requests:,}"),
        ("failed", f"{total.failed_requests:,}"),
        ("under way at the end", f"{total.unfinished_requests:,}"),
        ("throughput", f"{total.throughput_tokens_per_s:,.0f} tokens/s"),
        ("tokens completed, in and out", f"{total.input_tokens:,}, {total.output_tokens:,}"),
        ("sent late, p99 and most", f"{seconds(client.lateness_p99_s)}, {seconds(client.lateness_max_s)}"),
        ("the client's own load", f"{percent(client.cpu_share)} of a core"),
    ]
    if measured.other_lengths:
        rows.append(("outputs of another length", f"{measured.other_lengths:,}"))
    if measured.completed_late_requests:
        rows.append(("completed after the end", f"{measured.completed_late_requests:,}"))
    table = Table(show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _latencies(total: Figures) -> Table:
    table = Table("", "mean", "p50", "p90", "p99", box=None)
    for name, summary in (
        ("time to first token", total.ttft_s),
        ("inter-token latency", total.itl_s),
        ("time per output token", total.tpot_s),
        ("end to end", total.e2e_s),
    ):
        table.add_row(name, *map(seconds, (summary.mean, summary.p50, summary.p90, summary.p99)))
    return table


def _phases(phases: Sequence[Figures]) -> Table:
    table = Table(
        "phase", "from", "offered", "completed", "failed", "served", "tokens/s", "TTFT", "ITL", box=None
    )
    for phase in phases:
        table.add_row(
            escape(phase.name),
            f"{phase.start_s:,.0f} s",
            f"{phase.offered_requests:,}",
            f"{phase.completed_requests:,}",
            f"{phase.failed_requests:,}",
            percent(phase.served_fraction),
            f"{phase.throughput_tokens_per_s:,.0f}",
            seconds(phase.ttft_s.mean),
            seconds(phase.itl_s.mean),
        )
    return table


def _failures(measured: Measured) -> Table:
    table = Table("requests that failed", "reason", "what the server said", box=None)
    for reason, count in measured.failures.items():
        message = measured.messages.get(reason, "")[:SHOWN_CHARACTERS]
        table.add_row(f"{count:,}", escape(reason), escape(message))
    return table


def _adapters(measured: Measured) -> Table:
    """Those served worst come first; at most some."""
    own = measured.per_adapter
    order = np.argsort(own.served_fraction, kind="stable")[:SHOWN_ADAPTERS]
    starving = int((own.served_fraction < STARVATION_THRESHOLD).sum())
    title = f"{starving:,} of {len(own.names):,} adapters served below {STARVATION_THRESHOLD:.0%}"
    if order.size < len(own.names):
        title += f"; the {order.size} worst"
    columns = ("adapter", "offered", "completed", "failed", "served", "TTFT", "ITL", "end to end")
    table = Table(*columns, box=None, title=title, title_justify="left")
    for i in order.tolist():
        table.add_row(
            escape(own.names[i]),
            f"{own.offered_requests[i]:,}",
            f"{own.completed_requests[i]:,}",
            f"{measured.failed_by_adapter[i]:,}",
            percent(float(own.served_fraction[i])),
            seconds(float(own.ttft_mean_s[i])),
            seconds(float(own.itl_mean_s[i])),
            seconds(float(measured.e2e_mean_by_adapter_s[i])),
        )
    return table


def _comparison(figures: Sequence[Compared]) -> Table:
    table = Table("", "predicted", "measured", "error", box=None)
    for figure in figures:
        error = figure.error_percent
        shown = "–" if math.isnan(error) else f"{error:+.1f} %"
        table.add_row(figure.name, _value(figure, figure.predicted), _value(figure, figure.measured), shown)
    return table


def _value(figure: Compared, value: float) -> str:
    if figure.unit == "s":
        return seconds(value)
    return percent(value) if not figure.unit else f"{value:,.0f} {figure.unit}"
