"""The two tiers of adapters: slots on the GPU within a larger tier in host memory, both least recently used.

The engine touches a step's adapters in an order of its own (in vLLM the iteration order of a set). Unless a
recorded order is given, adapters already in use count as touched before the new ones, so that only adapters
that no running request uses are evicted. Then an adapter need be linked into the LRU lists only while it is
unused, and a step without admissions touches nothing.
"""

from __future__ import annotations

from adapter_twin.engine.compiling import kernel

from adapter_twin.engine import step_log
from adapter_twin.engine.linked_list import append, following, linked, remove
from adapter_twin.engine.state import Engine
from adapter_twin.engine.step_log import note


@kernel
def begin_use(e: Engine, adapter: int) -> None:
    """One more running request of `adapter`; the first makes it active, which loads it if need be."""
    c, s, a = e.config[0], e.state[0], e.adapters
    a[adapter].running += 1
    if a[adapter].running > 1 or adapter == c.base_model:
        return
    s.active += 1
    if e.applied_from.size == 0:
        _load(e, adapter)
        remove(e.cpu_lru, adapter)
        remove(e.gpu_lru, adapter)


@kernel
def end_use(e: Engine, adapter: int) -> None:
    """One running request of `adapter` less; after the last it waits, loaded, to be used again or evicted."""
    c, s, a = e.config[0], e.state[0], e.adapters
    a[adapter].running -= 1
    if a[adapter].running > 0 or adapter == c.base_model:
        return
    s.active -= 1
    if e.applied_from.size == 0:
        append(e.cpu_lru, c.base_model, adapter)
        append(e.gpu_lru, c.base_model, adapter)


@kernel
def apply_recorded_order(e: Engine) -> None:
    """Touch this step's adapters as a recorded engine did: the order decides who is evicted."""
    c, s = e.config[0], e.state[0]
    step = int(s.time_s)
    for k in range(e.applied_from[step], e.applied_from[step + 1]):
        adapter = e.applied[k]
        _load(e, adapter)
        remove(e.cpu_lru, adapter)
        append(e.cpu_lru, c.base_model, adapter)
        remove(e.gpu_lru, adapter)
        append(e.gpu_lru, c.base_model, adapter)


@kernel
def preload(e: Engine) -> None:
    """Load all adapters as a starting server does: into host memory and slots, each displacing the oldest."""
    c, s = e.config[0], e.state[0]
    for adapter in range(c.base_model):
        _load(e, adapter)
    s.gpu_loads = s.disk_loads = 0


@kernel
def _load(e: Engine, adapter: int) -> None:
    """Bring `adapter` into both tiers, as the newest of each; the engine stalls meanwhile."""
    s, a = e.state[0], e.adapters
    if not a[adapter].in_cpu or a[adapter].reload:
        note(e, step_log.LOADED, adapter, 0)
        s.stall_s += a[adapter].disk_s
        s.disk_loads += 1
        _take_cpu_place(e, adapter)
    if a[adapter].slot < 0:
        s.stall_s += a[adapter].cpu_to_gpu_s
        s.gpu_loads += 1
        _take_slot(e, adapter)


@kernel
def _take_cpu_place(e: Engine, adapter: int) -> None:
    c, s, a = e.config[0], e.state[0], e.adapters
    if a[adapter].in_cpu:
        return
    if s.in_cpu == c.max_cpu_loras:
        oldest = following(e.cpu_lru, c.base_model)
        if a[oldest].slot >= 0:
            _empty_slot(e, oldest)
        note(e, step_log.CPU_EVICTED, oldest, 0)
        remove(e.cpu_lru, oldest)
        a[oldest].in_cpu = False
        s.in_cpu -= 1
    append(e.cpu_lru, c.base_model, adapter)
    a[adapter].in_cpu = True
    s.in_cpu += 1


@kernel
def _take_slot(e: Engine, adapter: int) -> None:
    c, s, a = e.config[0], e.state[0], e.adapters
    if s.free_slots == 0:
        _empty_slot(e, following(e.gpu_lru, c.base_model))
    slot = 0
    while e.slots[slot] >= 0:
        slot += 1
    e.slots[slot] = adapter
    a[adapter].slot = slot
    s.free_slots -= 1
    append(e.gpu_lru, c.base_model, adapter)
    note(e, step_log.ACTIVATED, adapter, slot)


@kernel
def _empty_slot(e: Engine, adapter: int) -> None:
    a = e.adapters
    note(e, step_log.GPU_EVICTED, adapter, 0)
    e.slots[a[adapter].slot] = -1
    a[adapter].slot = -1
    e.state[0].free_slots += 1
    if linked(e.gpu_lru, adapter):
        remove(e.gpu_lru, adapter)
