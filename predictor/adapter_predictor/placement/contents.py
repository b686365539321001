"""What the replicas of a plan hold, as the judge asks about it."""

from collections.abc import Iterator, Sequence

import numpy as np

from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Contents, Slots
from adapter_predictor.plan import Plan


def replicas_of(plan: Plan, demands: Sequence[AdapterDemand]) -> Iterator[tuple[Contents, Slots]]:
    """What each replica of the plan holds, and its slots, in the order of its assignment."""
    by_name = {demand.name: demand for demand in demands}
    for pool in plan.pools:
        slots = Slots(pool.max_loras, pool.max_lora_rank)
        for name in pool.replica_names():
            shares = plan.assignment[name].items()
            rates = np.array([by_name[adapter].rate * share for adapter, share in shares])
            yield Contents(rates, slots.max_lora_rank), slots
