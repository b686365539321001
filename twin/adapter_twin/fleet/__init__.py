"""Fleets of replicas: static ones, compiled end to end, and ones that change while they serve."""

from adapter_twin.fleet.model import Failure, Fleet, FleetChange, FleetReplica, Mechanics, Rollout
from adapter_twin.fleet.stages import rollout_stages
from adapter_twin.fleet.static import FleetReport, simulate_static

__all__ = [
    "Failure",
    "Fleet",
    "FleetChange",
    "FleetReplica",
    "FleetReport",
    "Mechanics",
    "Rollout",
    "rollout_stages",
    "simulate_static",
]
