"""A decision for machines: plain dictionaries, then JSON or YAML. The fields are a promise."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml

from adapter_operator.planning.decision import Decision
from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import ReplicaFigures, Verdict
from adapter_predictor.placement import FrontierPoint
from adapter_predictor.prediction import Prediction

Document = dict[str, Any]


def document(request: PlanningRequest, decision: Decision, points: Sequence[FrontierPoint] = ()) -> Document:
    """The decision as plain values; numbers that are not finite are null.

    Args:
        request: What was asked: adapters and their declared rates.
        decision: What came of it.
        points: GPUs against headroom.
    """
    plan = decision.plan
    content = {
        "replicas": plan.replicas if plan else 0,
        "pools": [pool.model_dump() for pool in plan.pools] if plan else [],
        "assignment": plan.assignment if plan else {},
        "adapters": [{"name": a.name, "rate": a.rate, "rank": a.rank} for a in request.adapters],
        "prediction": _prediction(decision.prediction),
        "lower_bound": asdict(decision.lower_bound) if decision.lower_bound else None,
        "frontier": [asdict(point) for point in points],
        "verdict": _verdict(decision.verdict) | {"status": decision.status},
        "explanation": list(decision.explanation),
        "timings": dict(decision.timings),
    }
    finite: Document = _finite(content)
    return finite


def to_json(request: PlanningRequest, decision: Decision, points: Sequence[FrontierPoint] = ()) -> str:
    """The document as JSON."""
    return json.dumps(document(request, decision, points), indent=2, ensure_ascii=False, allow_nan=False)


def to_yaml(request: PlanningRequest, decision: Decision, points: Sequence[FrontierPoint] = ()) -> str:
    """The document as YAML."""
    content = document(request, decision, points)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110).rstrip("\n")


def _prediction(by_replica: Mapping[str, Prediction]) -> Document:
    """The whole plan's prediction: sums, the worst, and each replica's."""
    predictions = list(by_replica.values())
    return {
        "served_fraction": min((one.served_fraction for one in predictions), default=None),
        "throughput_tokens_per_s": sum(one.throughput_tokens_per_s for one in predictions),
        "itl_s": max((one.itl_s for one in predictions), default=None),
        "ttft_s": max((one.ttft_s for one in predictions), default=None),
        "replicas": {name: asdict(one) for name, one in by_replica.items()},
    }


def _verdict(verdict: Verdict) -> Document:
    content = {
        name: getattr(verdict, name)
        for name in (
            "status",
            "reason",
            "message",
            "plan_hash",
            "profile_hash",
            "horizon_s",
            "margin",
            "starving",
            "missing_gpus",
        )
    }
    return content | {
        "seeds": list(verdict.seeds),
        "failing": list(verdict.failing),
        "envelope": asdict(verdict.envelope) if verdict.envelope else None,
        "replicas": [_figures(figures) for figures in verdict.replicas],
        "worst_adapters": [asdict(adapter) for adapter in verdict.worst_adapters],
    }


def _figures(figures: ReplicaFigures) -> Document:
    """One replica's figures without its time series, which are for plots."""
    return {name: getattr(figures, name) for name in figures.__dataclass_fields__ if name != "timeline"}


def _finite(value: Any) -> Any:
    """Plain values all the way down; numpy's numbers become Python's."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None
