"""From what was sent and came back to figures, by the definitions of the twin's report; pure.

Times are the served system's: real ones times the speed-up. A request counts as completed if it completed
within the traffic's time; what was under way at the end is cancelled and counts as neither completed nor
failed, as in the twin. Latencies run from the moment a request was due, so a client that sends late cannot
flatter the server; how late it was is said beside them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter_twin import slo
from adapter_twin.plain import plain
from adapter_twin.report import NAN, LatencySummary, PerAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_operator.load.answers import Record
    from adapter_operator.load.sending import Run
    from adapter_operator.load.traffic import Phase, Traffic

LATE_SHARE = 0.01
"""Of requests sent late from which on the client is called the bottleneck."""


@dataclass(frozen=True)
class Client:
    """How well the client itself kept up; in real seconds."""

    late_after_s: float
    late_requests: int
    """Sent later than that after they were due."""
    lateness_p50_s: float
    lateness_p99_s: float
    lateness_max_s: float
    held_back_requests: int
    """That waited because as many as allowed were under way."""
    cpu_share: float
    """Of one core."""
    unsent_requests: int
    """Due, and not sent before the end."""
    sent_requests: int

    @property
    def kept_up(self) -> bool:
        """Whether the traffic was open-loop in deed."""
        late = self.late_requests + self.unsent_requests
        return late <= LATE_SHARE * max(1, self.sent_requests + self.unsent_requests)


@dataclass(frozen=True)
class Figures:
    """Of the whole, or of the requests that were due in one phase."""

    name: str
    start_s: float
    end_s: float
    offered_requests: int
    completed_requests: int
    failed_requests: int
    unfinished_requests: int
    offered_tokens: int
    input_tokens: int
    """Of completed requests."""
    output_tokens: int
    throughput_tokens_per_s: float
    """Tokens, prompt and output, of requests that completed in this time."""
    served_fraction: float
    ttft_s: LatencySummary
    tpot_s: LatencySummary
    itl_s: LatencySummary
    """The mean over gaps of completed requests; percentiles over all, of a phase over requests' means."""
    e2e_s: LatencySummary


@dataclass(frozen=True, eq=False)
class Measured:
    """The outcome."""

    total: Figures
    phases: tuple[Figures, ...]
    """Empty where there is only one."""
    per_adapter: PerAdapter
    failed_by_adapter: NDArray[np.int64]
    e2e_mean_by_adapter_s: NDArray[np.float64]
    failures: dict[str, int]
    """Requests by reason, the commonest first."""
    messages: dict[str, str]
    """What the server said of the first of each."""
    completed_late_requests: int
    """That completed after the end of the traffic's time, while it was waited for."""
    other_lengths: int
    """Completed requests whose outputs, by the server's count, are not of the length asked for."""
    speed_up: float
    interrupted: bool
    client: Client

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the keys of `adaptwin twin run -o json` where both have them."""
        own = self.per_adapter
        adapters = asdict(own) | {
            "served_fraction": own.served_fraction,
            "failed_requests": self.failed_by_adapter,
            "e2e_mean_s": self.e2e_mean_by_adapter_s,
        }
        total = asdict(self.total)
        document = {
            "duration_s": total.pop("end_s") - total.pop("start_s"),
            **{name: value for name, value in total.items() if name != "name"},
            "completed_late_requests": self.completed_late_requests,
            "other_lengths": self.other_lengths,
            "failures": self.failures,
            "failure_messages": self.messages,
            "speed_up": self.speed_up,
            "interrupted": self.interrupted,
            "client": asdict(self.client) | {"kept_up": self.client.kept_up},
            "per_adapter": adapters,
            "phases": [asdict(phase) for phase in self.phases],
        }
        plain_values: dict[str, Any] = plain(document)
        return plain_values


@dataclass(frozen=True, eq=False)
class _Columns:
    """One entry per offered request."""

    adapter: NDArray[np.int32]
    due_s: NDArray[np.float64]
    first_s: NDArray[np.float64]
    """NaN where it did not complete; the next two likewise."""
    last_s: NDArray[np.float64]
    gaps: NDArray[np.int64]
    prompt: NDArray[np.int64]
    """As the server counted them, or else as planned."""
    output: NDArray[np.int64]
    completed: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    completable: NDArray[np.bool_]

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Prompt and output."""
        return self.prompt + self.output


def measure(run: Run, traffic: Traffic, *, speed_up: float, late_after_s: float) -> Measured:
    """The figures of a run.

    Args:
        run: what was sent and came back.
        traffic: what was to be sent until the run's end.
        speed_up: seconds of the served system per real second.
        late_after_s: real seconds after which a request counts as sent late.
    """
    columns = _columns(run.records, traffic, speed_up)
    gaps = np.frombuffer(run.gaps_s, dtype=np.float32).astype(np.float64) * speed_up
    total = _figures("", 0.0, traffic.duration_s, columns, np.ones(columns.due_s.size, dtype=bool), gaps)
    reasons = Counter(record.failure for record in run.records if record.failure)
    return Measured(
        total=total,
        phases=_phases(traffic.phases, columns) if len(traffic.phases) > 1 else (),
        per_adapter=_per_adapter(columns, traffic),
        failed_by_adapter=_by_adapter(columns, traffic, columns.failed),
        e2e_mean_by_adapter_s=_mean_by_adapter(
            columns, traffic, columns.completed, columns.last_s - columns.due_s
        ),
        failures=dict(reasons.most_common()),
        messages=_messages(run.records),
        completed_late_requests=sum(record.completed for record in run.records) - total.completed_requests,
        other_lengths=int((columns.completed & (columns.output != traffic.requests.output_tokens)).sum()),
        speed_up=speed_up,
        interrupted=run.interrupted,
        client=_client(run, traffic, late_after_s),
    )


def _columns(records: Sequence[Record], traffic: Traffic, speed_up: float) -> _Columns:
    requests = traffic.requests
    first_s, last_s = np.full(requests.count, NAN), np.full(requests.count, NAN)
    gaps = np.zeros(requests.count, dtype=np.int64)
    prompt, output = requests.prompt_tokens.astype(np.int64), requests.output_tokens.astype(np.int64)
    failed = np.zeros(requests.count, dtype=bool)
    for record in records:
        place = record.request
        if place >= requests.count:
            continue
        failed[place] = bool(record.failure)
        if record.completed and record.last_s * speed_up <= traffic.duration_s:
            first_s[place], last_s[place] = record.first_s * speed_up, record.last_s * speed_up
            gaps[place] = record.gaps
            prompt[place] = record.prompt_tokens or prompt[place]
            output[place] = record.output_tokens
    completed = ~np.isnan(last_s)
    itl_s = float((last_s - first_s)[completed].sum() / gaps.sum()) if gaps.any() else NAN
    completable = slo.completable(
        requests.arrival_s, requests.output_tokens, itl_mean_s=itl_s, duration_s=traffic.duration_s
    )
    return _Columns(
        requests.adapter,
        requests.arrival_s,
        first_s,
        last_s,
        gaps,
        prompt,
        output,
        completed,
        failed,
        completable,
    )


def _figures(
    name: str,
    start_s: float,
    end_s: float,
    columns: _Columns,
    chosen: NDArray[np.bool_],
    gaps: NDArray[np.float64] | None = None,
) -> Figures:
    """Of the chosen requests; without single gaps, the percentiles of ITL are those of requests' means."""
    completed = chosen & columns.completed
    completable = chosen & columns.completable
    tokens = columns.tokens
    decoding_s = (columns.last_s - columns.first_s)[completed]
    own_gaps, output = columns.gaps[completed], columns.output[completed]
    several = (own_gaps > 0) & (output > 1)
    per_request = decoding_s[several] / own_gaps[several]
    finished_here = columns.completed & (columns.last_s >= start_s) & (columns.last_s < end_s)
    if not name:
        finished_here = columns.completed
    itl = LatencySummary.of(per_request if gaps is None else gaps)
    mean_s = float(decoding_s[several].sum() / own_gaps[several].sum()) if several.any() else NAN
    return Figures(
        name=name,
        start_s=start_s,
        end_s=end_s,
        offered_requests=int(chosen.sum()),
        completed_requests=int(completed.sum()),
        failed_requests=int((chosen & columns.failed).sum()),
        unfinished_requests=int((chosen & ~columns.failed & ~columns.completed).sum()),
        offered_tokens=int(tokens[chosen].sum()),
        input_tokens=int(columns.prompt[completed].sum()),
        output_tokens=int(output.sum()),
        throughput_tokens_per_s=float(tokens[finished_here].sum() / (end_s - start_s)),
        served_fraction=slo.served_fraction(
            float(tokens[completable & completed].sum()), float(tokens[completable].sum())
        ),
        ttft_s=LatencySummary.of((columns.first_s - columns.due_s)[completed]),
        tpot_s=LatencySummary.of(decoding_s[several] / (output[several] - 1)),
        itl_s=LatencySummary(mean_s, itl.p50, itl.p90, itl.p99),
        e2e_s=LatencySummary.of((columns.last_s - columns.due_s)[completed]),
    )


def _phases(phases: Sequence[Phase], columns: _Columns) -> tuple[Figures, ...]:
    return tuple(
        _figures(
            phase.name,
            phase.start_s,
            phase.end_s,
            columns,
            (columns.due_s >= phase.start_s) & (columns.due_s < phase.end_s),
        )
        for phase in phases
    )


def _by_adapter(
    columns: _Columns, traffic: Traffic, chosen: NDArray[np.bool_], weights: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """How many of the chosen requests, or how much weight, each adapter has; not the base model."""
    chosen = chosen & (columns.adapter >= 0)
    total = np.bincount(
        columns.adapter[chosen],
        weights=None if weights is None else weights[chosen],
        minlength=len(traffic.adapters),
    )
    return total.astype(np.int64)


def _mean_by_adapter(
    columns: _Columns,
    traffic: Traffic,
    chosen: NDArray[np.bool_],
    seconds: NDArray[np.float64],
    per: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Seconds of the chosen requests over their number, or over what `per` says of each."""
    chosen = chosen & (columns.adapter >= 0)
    owner, count = columns.adapter[chosen], len(traffic.adapters)
    sums = np.bincount(owner, weights=seconds[chosen], minlength=count)
    over = np.bincount(owner, weights=None if per is None else per[chosen], minlength=count)
    with np.errstate(invalid="ignore"):
        return np.where(over > 0, sums / np.where(over > 0, over, 1), NAN)


def _per_adapter(columns: _Columns, traffic: Traffic) -> PerAdapter:
    everything = np.ones(columns.due_s.size, dtype=bool)
    done, tokens = columns.completed, columns.tokens
    return PerAdapter(
        names=tuple(adapter.name for adapter in traffic.adapters),
        offered_requests=_by_adapter(columns, traffic, everything),
        completed_requests=_by_adapter(columns, traffic, done),
        offered_tokens=_by_adapter(columns, traffic, everything, tokens),
        completed_tokens=_by_adapter(columns, traffic, done, tokens),
        completable_tokens=_by_adapter(columns, traffic, columns.completable, tokens),
        served_tokens=_by_adapter(columns, traffic, columns.completable & done, tokens),
        ttft_mean_s=_mean_by_adapter(columns, traffic, done, columns.first_s - columns.due_s),
        itl_mean_s=_mean_by_adapter(columns, traffic, done, columns.last_s - columns.first_s, columns.gaps),
    )


def _messages(records: Sequence[Record]) -> dict[str, str]:
    """The first message of each reason."""
    messages: dict[str, str] = {}
    for record in records:
        if record.failure and record.message:
            messages.setdefault(record.failure, record.message)
    return messages


def _client(run: Run, traffic: Traffic, late_after_s: float) -> Client:
    lateness = np.array([record.sent_s - record.due_s for record in run.records], dtype=np.float64)
    lateness = np.maximum(lateness[~np.isnan(lateness)], 0.0)
    p50, p99, most = np.percentile(lateness, (50, 99, 100)).tolist() if lateness.size else (NAN, NAN, NAN)
    return Client(
        late_after_s=late_after_s,
        late_requests=int((lateness > late_after_s).sum()),
        lateness_p50_s=p50,
        lateness_p99_s=p99,
        lateness_max_s=most,
        held_back_requests=run.held_back,
        cpu_share=run.cpu_s / run.real_s if run.real_s > 0 else NAN,
        unsent_requests=max(0, traffic.requests.count - len(run.records)),
        sent_requests=len(run.records),
    )
