"""What happened to replicas and copies, in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """Steps in the life of a replica, of an adapter's copy on it, and of a rollout."""

    REPLICA_STARTING = "replica starting"
    REPLICA_UP = "replica up"
    """Its engine answers; it holds no adapter yet."""
    REPLICA_READY = "replica ready"
    """Every adapter that it was started with is loaded."""
    REPLICA_FAILED = "replica failed"
    REPLICA_DRAINING = "replica draining"
    REPLICA_STOPPED = "replica stopped"
    """Its GPUs are free."""
    COPY_LOADED = "copy loaded"
    COPY_CONFIRMED = "copy confirmed"
    """Seen by the operator: it may get traffic."""
    COPY_UNLOADED = "copy unloaded"
    ADAPTER_ROUTED = "adapter routed"
    """Its traffic follows the fleet that is being rolled out."""
    STAGE_REACHED = "stage reached"
    ROLLOUT_STARTED = "rollout started"
    ROLLOUT_COMPLETE = "rollout complete"


@dataclass(frozen=True)
class FleetEvent:
    """One of them."""

    at_s: float
    kind: EventKind
    replica: str = ""
    adapter: str = ""


def gpu_replicas(events: tuple[FleetEvent, ...], initial: int) -> list[tuple[float, int]]:
    """How many replicas hold GPUs from which moment on; a failed one keeps its GPUs."""
    held, changes = initial, [(0.0, initial)]
    failed: set[str] = set()
    for event in events:
        match event.kind:
            case EventKind.REPLICA_FAILED:
                failed.add(event.replica)
            case EventKind.REPLICA_STARTING if event.replica in failed:
                failed.discard(event.replica)
            case EventKind.REPLICA_STARTING:
                held += 1
                changes.append((event.at_s, held))
            case EventKind.REPLICA_STOPPED:
                failed.discard(event.replica)
                held -= 1
                changes.append((event.at_s, held))
            case _:
                pass
    return changes
