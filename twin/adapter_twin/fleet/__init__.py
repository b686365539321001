"""Fleets of replicas: static ones, compiled end to end, and ones that change while they serve."""

from adapter_twin.fleet.comparison import Comparison, simulate_transition
from adapter_twin.fleet.fates import Fate
from adapter_twin.fleet.history import AdapterHistory, RequestOutcomes, TransitionReport
from adapter_twin.fleet.log import EventKind, FleetEvent
from adapter_twin.fleet.model import Failure, Fleet, FleetChange, FleetReplica, Mechanics, Rollout
from adapter_twin.fleet.simulation import simulate_fleet
from adapter_twin.fleet.stages import rollout_stages
from adapter_twin.fleet.static import FleetReport, simulate_static

__all__ = [
    "AdapterHistory",
    "Comparison",
    "EventKind",
    "Failure",
    "Fate",
    "Fleet",
    "FleetChange",
    "FleetEvent",
    "FleetReplica",
    "FleetReport",
    "Mechanics",
    "RequestOutcomes",
    "Rollout",
    "TransitionReport",
    "rollout_stages",
    "simulate_fleet",
    "simulate_static",
    "simulate_transition",
]
