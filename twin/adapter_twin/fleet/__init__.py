"""Fleets of replicas: static ones, compiled end to end, and ones that change while they serve."""

from adapter_twin.fleet.model import Failure, Fleet, FleetReplica, Mechanics, Rollout
from adapter_twin.fleet.static import FleetReport, simulate_static

__all__ = [
    "Failure",
    "Fleet",
    "FleetReplica",
    "FleetReport",
    "Mechanics",
    "Rollout",
    "simulate_static",
]
