"""Placement: the fewest GPUs for a set of adapters, which slots they have, and who serves whom.

Pure: knows the predictor's answers, not how they came about, and nothing of Kubernetes.
"""

from adapter_predictor.placement.demand import AdapterDemand, Limits, Objectives, TokenMeans
from adapter_predictor.placement.frontier import FrontierPoint, frontier, plan_headroom
from adapter_predictor.placement.place import place
from adapter_predictor.placement.result import LowerBound, Placement

__all__ = [
    "AdapterDemand",
    "FrontierPoint",
    "Limits",
    "LowerBound",
    "Objectives",
    "Placement",
    "TokenMeans",
    "frontier",
    "place",
    "plan_headroom",
]
