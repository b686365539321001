"""The twin's reports of several seeds, put together for each replica and each adapter."""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

import numpy as np

from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import AdapterFigures, ReplicaFigures
from adapter_predictor.plan import Plan
from adapter_twin.fleet import FleetReport
from adapter_twin.report import Report
from adapter_twin.starvation import SHUT_OUT, significantly_below


def replica_figures(
    request: PlanningRequest, plan: Plan, reports: Sequence[FleetReport]
) -> Iterator[ReplicaFigures]:
    """Means over the seeds for each replica, in the plan's order."""
    for pool in plan.pools:
        for name in pool.replica_names():
            seen = [report.replicas[name] for report in reports]
            yield _figures(
                request, name, (pool.max_loras, pool.max_lora_rank), len(plan.assignment[name]), seen
            )


def _figures(
    request: PlanningRequest, name: str, slots: tuple[int, int], adapters: int, seen: Sequence[Report]
) -> ReplicaFigures:
    def mean(of: Callable[[Report], float]) -> float:
        known = [value for report in seen if not math.isnan(value := of(report))]
        return fmean(known) if known else math.nan

    served = mean(lambda report: report.served_fraction)
    return ReplicaFigures(
        name=name,
        max_loras=slots[0],
        max_lora_rank=slots[1],
        adapters=adapters,
        offered_per_s=mean(lambda report: report.offered_requests / request.verification.horizon_s),
        kv_cache_tokens=seen[0].memory.kv_cache_tokens,
        served_fraction=1.0 if math.isnan(served) else served,
        throughput_tokens_per_s=mean(lambda report: report.throughput_tokens_per_s),
        itl_s=mean(lambda report: report.itl_s.mean),
        ttft_s=mean(lambda report: report.ttft_s.mean),
        ttft_p99_s=mean(lambda report: report.ttft_s.p99),
        running=mean(lambda report: report.running_mean),
        waiting=mean(lambda report: report.waiting_mean),
        kv_usage=mean(lambda report: report.kv_usage_mean),
        preemptions=mean(lambda report: report.preemptions),
        adapter_loads=mean(lambda report: report.adapter_loads),
        timeline=seen[0].timeseries,
    )


def adapter_figures(request: PlanningRequest, reports: Sequence[FleetReport]) -> tuple[AdapterFigures, ...]:
    """Every adapter over all its replicas and all seeds, the worst served first."""
    index = {adapter.name: i for i, adapter in enumerate(request.adapters)}
    requests, completed, offered, served = (np.zeros(len(index), dtype=np.int64) for _ in range(4))
    for report in (one for fleet in reports for one in fleet.replicas.values()):
        seen = report.per_adapter
        places = [index[name] for name in seen.names]
        requests[places] += seen.offered_requests
        completed[places] += seen.completed_requests
        offered[places] += seen.completable_tokens
        served[places] += seen.served_tokens
    fractions = np.where(offered > 0, served / np.maximum(offered, 1), 1.0)
    objective = request.objectives.served_fraction
    starving = significantly_below(objective, requests, completed, fractions)
    shut_out = significantly_below(SHUT_OUT * objective, requests, completed, fractions)
    order = np.lexsort((-requests, fractions, ~starving))
    return tuple(
        AdapterFigures(
            name=request.adapters[i].name,
            requests=int(requests[i]),
            completed=int(completed[i]),
            served_fraction=float(fractions[i]),
            starving=bool(starving[i]),
            shut_out=bool(shut_out[i]),
        )
        for i in order
    )
