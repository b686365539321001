"""More room in an engine that runs: everything keeps its number but for what counts from the arrays' ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.engine.building import rest_adapters
from adapter_twin.engine.linked_list import NOWHERE, Links
from adapter_twin.engine.state import ADAPTER, REQUEST, Engine, records
from adapter_twin.engine.upcoming import pending

if TYPE_CHECKING:
    from numpy.typing import NDArray


def with_requests(e: Engine, count: int) -> Engine:
    """The engine with records for `count` requests, which is more than it has; sentinels move up."""
    before = e.requests.size
    requests = records(REQUEST, count)
    requests[:before] = e.requests
    return e._replace(
        requests=requests,
        waiting=_moved(e.waiting, before, count),
        queues=_moved(e.queues, before, count),
        running=_moved(e.running, before, count),
        buckets=_moved(e.buckets, before, count),
        upcoming=_larger_ring(e, count),
    )


def with_adapters(e: Engine, count: int) -> Engine:
    """The engine with records for `count` adapters, which is more than it has; the base model moves up."""
    before, base = e.requests.size, int(e.config.base_model[0])
    adapters = records(ADAPTER, count + 1)
    adapters[:base] = e.adapters[:base]
    queues = _moved(e.queues, before + base, before + count)
    new = np.arange(before + base, before + count, dtype=np.int32)
    queues[new] = new[:, None]
    heap = np.zeros(count + 1, dtype=np.int32)
    heap[: e.heap.size] = np.where(e.heap == base, count, e.heap)
    grown = e._replace(
        adapters=adapters,
        queues=queues,
        heap=heap,
        gpu_lru=_moved(e.gpu_lru, base, count),
        cpu_lru=_moved(e.cpu_lru, base, count),
    )
    rest_adapters(grown, base)
    adapters[count] = e.adapters[base]
    grown.requests.adapter[grown.requests.adapter == base] = count
    grown.config.base_model = count
    return grown


def _moved(links: Links, items: int, more: int) -> Links:
    """Links with room for `more` items instead of `items`, their sentinels behind them."""
    moved = np.where(links >= items, links + (more - items), links)
    grown = np.full((links.shape[0] + more - items, 2), NOWHERE, dtype=np.int32)
    grown[:items], grown[more:] = moved[:items], moved[items:]
    return grown


def _larger_ring(e: Engine, count: int) -> NDArray[np.int32]:
    ring = np.zeros(1 << count.bit_length(), dtype=np.int32)
    places = np.arange(e.state.next_arrival[0], e.state.submitted[0])
    ring[places & (ring.size - 1)] = pending(e)
    return ring
