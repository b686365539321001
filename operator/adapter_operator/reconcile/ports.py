"""What the reconcile loop needs of the world; whoever runs it brings the implementations.

On Kubernetes these are in `adapter_operator.kubernetes`; the same loop can drive engines elsewhere.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Protocol

from adapter_operator.planning import Decision, PlanningRequest
from adapter_operator.reconcile.moves import Holder
from adapter_operator.reconcile.values import (
    Announcement,
    Desired,
    EngineProblem,
    ObjectKey,
    Observed,
)


class Cluster(Protocol):
    """Where AdapterDeployments live and engines run."""

    async def observe(self, key: ObjectKey) -> Observed | None:
        """The object and what exists for it; None where it is gone or going."""

    async def actuate(self, desired: Desired) -> None:
        """Make what exists as desired. Idempotent."""

    async def report(self, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Replace the object's status."""

    async def announce(self, observed: Observed, announcement: Announcement) -> None:
        """Tell people about a decision, beside the object."""


class Engines(Protocol):
    """The engines themselves."""

    async def problems(self, key: ObjectKey) -> Collection[EngineProblem]:
        """Engines that cannot start, and why."""


class Agents(Protocol):
    """Whoever loads adapters into engines, and confirms it."""

    async def holders(self, observed: Observed) -> Mapping[str, Holder]:
        """Every replica that exists, by the name that plans give it."""


class TrafficSource(Protocol):
    """What traffic the adapters see."""

    async def rates(self, key: ObjectKey) -> Mapping[str, float] | None:
        """Observed requests/s by adapter; None where there is no full window of healthy observation."""


class Planner(Protocol):
    """Plans and verifies somewhere where it stalls nobody."""

    async def decide(self, request: PlanningRequest) -> Decision:
        """The decision on a request; its own deadline is the request's."""


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """The present moment, with its time zone."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
