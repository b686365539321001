"""The agent's Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from adapter_operator.agent.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Mapping

ADAPTERS: Final = "adaptwin_agent_adapters"
GENERATION: Final = "adaptwin_agent_generation"
ENGINE_UP: Final = "adaptwin_agent_engine_up"
FAILURES: Final = "adaptwin_agent_failures"
FETCH_SECONDS: Final = "adaptwin_agent_fetch_seconds"
LOAD_SECONDS: Final = "adaptwin_agent_load_seconds"

_BUCKETS_S: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class AgentMetrics:
    """All metrics of one agent, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.adapters = Gauge(ADAPTERS, "Assigned adapters, by state.", ("state",), registry=registry)
        self.generation = Gauge(GENERATION, "Generation of the assignment that is kept.", registry=registry)
        self.engine_up = Gauge(ENGINE_UP, "1 while the engine answers.", registry=registry)
        self.failures = Counter(FAILURES, "Adapters that failed, by reason.", ("reason",), registry=registry)
        self.fetch_seconds = Histogram(
            FETCH_SECONDS, "Fetching and checking one adapter's files.", buckets=_BUCKETS_S, registry=registry
        )
        self.load_seconds = Histogram(
            LOAD_SECONDS, "Loading one adapter into the engine.", buckets=_BUCKETS_S, registry=registry
        )

    def observe(self, states: Mapping[str, tuple[State, object, object]]) -> None:
        """Set the number of adapters in each state."""
        found = [state for state, _, _ in states.values()]
        for state in State:
            self.adapters.labels(state.value).set(found.count(state))
