"""The baselines by name."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from adapter_predictor.placement.baselines.balancing import (
    all_on_all,
    least_adapters,
    least_load,
    round_robin,
)
from adapter_predictor.placement.baselines.greedy import greedy
from adapter_predictor.placement.baselines.rendezvous import rendezvous
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Judge
from adapter_predictor.placement.packing import Bin

Baseline = Callable[[Sequence[AdapterDemand], Judge, int], list[Bin]]
"""Adapters, who judges replicas, and how many replicas there are; what each of them gets."""

BASELINES: Final[Mapping[str, Baseline]] = MappingProxyType(
    {
        "all on all": all_on_all,
        "round robin": round_robin,
        "least adapters": least_adapters,
        "least load": least_load,
        "rendezvous": rendezvous,
        "greedy": greedy,
    }
)
"""In the order of tables."""
