"""The operator's Prometheus metrics; names and labels are documented constants."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

RECONCILES: Final = "adaptwin_reconciles"
RECONCILE_SECONDS: Final = "adaptwin_reconcile_seconds"
QUEUE_LENGTH: Final = "adaptwin_queue_length"
LEADER: Final = "adaptwin_leader"
API_REQUESTS: Final = "adaptwin_api_requests"
DECISIONS: Final = "adaptwin_decisions"
PLANNING_SECONDS: Final = "adaptwin_planning_seconds"
APPLIED_SECONDS: Final = "adaptwin_spec_to_applied_seconds"
PLANNED_REPLICAS: Final = "adaptwin_planned_replicas"
READY_REPLICAS: Final = "adaptwin_ready_replicas"
PLANNED_GPUS: Final = "adaptwin_planned_gpus"
ADAPTERS: Final = "adaptwin_adapters"

OBJECT: Final = ("namespace", "name")
FAST_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """All metrics of one operator, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.reconciles = Counter(
            RECONCILES, "Reconciliations, by how they ended.", ("result",), registry=registry
        )
        self.reconcile_seconds = Histogram(
            RECONCILE_SECONDS, "Duration of one reconciliation.", buckets=FAST_BUCKETS_S, registry=registry
        )
        self.queue_length = Gauge(QUEUE_LENGTH, "Objects that wait for a worker.", registry=registry)
        self.leader = Gauge(LEADER, "1 while this process leads.", registry=registry)
        self.api_requests = Counter(
            API_REQUESTS, "Requests to the API server.", ("method", "status"), registry=registry
        )
        self.decisions = Counter(
            DECISIONS, "Decisions of planning, by verdict.", ("verdict", "reason"), registry=registry
        )
        self.planning_seconds = Histogram(
            PLANNING_SECONDS,
            "Duration of the stages of planning.",
            ("stage",),
            buckets=FAST_BUCKETS_S,
            registry=registry,
        )
        self.applied_seconds = Histogram(
            APPLIED_SECONDS,
            "From the first look at a changed spec until its plan is verified and its objects are applied.",
            buckets=FAST_BUCKETS_S,
            registry=registry,
        )
        self.planned_replicas = Gauge(
            PLANNED_REPLICAS, "Replicas of the plan in force.", OBJECT, registry=registry
        )
        self.ready_replicas = Gauge(
            READY_REPLICAS, "Replicas of the plan in force that are ready.", OBJECT, registry=registry
        )
        self.planned_gpus = Gauge(PLANNED_GPUS, "GPUs of the plan in force.", OBJECT, registry=registry)
        self.adapters = Gauge(ADAPTERS, "Adapters of the object.", OBJECT, registry=registry)

    def observe_object(
        self, namespace: str, name: str, *, adapters: int, planned: int, ready: int, gpus: int
    ) -> None:
        """Set the gauges of one object."""
        self.adapters.labels(namespace, name).set(adapters)
        self.planned_replicas.labels(namespace, name).set(planned)
        self.ready_replicas.labels(namespace, name).set(ready)
        self.planned_gpus.labels(namespace, name).set(gpus)

    def forget_object(self, namespace: str, name: str) -> None:
        """Drop the gauges of an object that is gone."""
        for gauge in (self.adapters, self.planned_replicas, self.ready_replicas, self.planned_gpus):
            gauge.remove_by_labels({"namespace": namespace, "name": name})
