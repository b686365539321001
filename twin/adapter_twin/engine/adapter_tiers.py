"""The two tiers of adapters: slots on the GPU within a larger tier in host memory, both least recently used.

In every step the engine touches the adapters of its running requests one after another, in the iteration
order of a Python set: by hash, so the same relative order in every step. A missing adapter is loaded when
its turn comes, in place of the one touched longest ago. That may be an adapter of this very step whose turn
is still to come, which is then loaded again in place of another, and so on: when all slots are in use, one
new adapter can cost a chain of loads. The chain ends at an adapter that no running request uses.

The LRU lists hold only adapters that no running request uses, sorted by (last step of use, set order); those
in use follow behind them, in set order. So only adapters whose use begins, and those that their loading
displaces, are ever visited; a step without admissions touches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_twin.engine import step_log
from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.linked_list import (
    Links,
    append,
    following,
    insert_before,
    last,
    linked,
    preceding,
    remove,
)
from adapter_twin.engine.step_log import note

if TYPE_CHECKING:
    from adapter_twin.engine.state import Engine


@kernel
def begin_use(e: Engine, adapter: int) -> None:
    """One more running request of `adapter`; the first makes it active."""
    c, s, a = e.config[0], e.state[0], e.adapters
    a[adapter].running += 1
    if a[adapter].running > 1 or adapter == c.base_model:
        return
    place = s.active
    while place > 0 and a[e.active[place - 1]].set_order > a[adapter].set_order:
        e.active[place] = e.active[place - 1]
        place -= 1
    e.active[place] = adapter
    s.active += 1
    s.running_key ^= a[adapter].key
    a[adapter].fresh = True
    s.untouched += 1


@kernel
def end_use(e: Engine, adapter: int, last_step: int) -> None:
    """One running request of `adapter` less; after its last step of use it waits in its slot."""
    c, s, a = e.config[0], e.state[0], e.adapters
    a[adapter].running -= 1
    if a[adapter].running > 0 or adapter == c.base_model:
        return
    place = 0
    while e.active[place] != adapter:
        place += 1
    s.active -= 1
    s.running_key ^= a[adapter].key
    for k in range(place, s.active):
        e.active[k] = e.active[k + 1]
    a[adapter].last_step = last_step
    if e.applied_from.size == 0:
        _link_by_use(e, e.gpu_lru, adapter)
        _link_by_use(e, e.cpu_lru, adapter)


@kernel
def touch_adapters(e: Engine) -> None:
    """Have all adapters of the scheduled step in slots; what that loads stalls the step."""
    s, a = e.state[0], e.adapters
    if e.applied_from.size > 0:
        _touch_as_recorded(e)
        return
    for place in range(s.active):
        if s.untouched == 0:
            break
        adapter = e.active[place]
        if a[adapter].fresh or a[adapter].slot < 0:
            _have_in_slot(e, adapter, place, s.step - 1)
            _unlink(e, adapter)
            a[adapter].fresh = False
            s.untouched -= 1


@kernel
def preload(e: Engine) -> None:
    """Load all adapters as a starting server does, each displacing the oldest; that is over at the start."""
    c, s, a = e.config[0], e.state[0], e.adapters
    for adapter in range(c.adapters):
        _touch_in_lists(e, adapter)
        a[adapter].last_step = adapter - c.adapters
    s.gpu_loads = s.disk_loads = s.log_size = 0
    s.stall_s = 0.0
    row = e.series[s.bin]
    row[6] = 0


@kernel
def load_between_steps(e: Engine, adapter: int) -> None:
    """Load an adapter at a client's wish; the oldest makes room, even one that running requests use."""
    s, a = e.state[0], e.adapters
    _have_in_slot(e, adapter, -1, s.step)
    a[adapter].last_step = s.step
    _link_by_use(e, e.gpu_lru, adapter)
    _link_by_use(e, e.cpu_lru, adapter)


@kernel
def _touch_as_recorded(e: Engine) -> None:
    """Touch this step's adapters in the order of a recording; the lists then hold used adapters too."""
    step = int(e.state[0].time_s)
    for k in range(e.applied_from[step], e.applied_from[step + 1]):
        _touch_in_lists(e, e.applied[k])


@kernel
def _touch_in_lists(e: Engine, adapter: int) -> None:
    c, s = e.config[0], e.state[0]
    _have_in_slot(e, adapter, s.active, s.step - 1)
    _unlink(e, adapter)
    append(e.cpu_lru, c.base_model, adapter)
    append(e.gpu_lru, c.base_model, adapter)


@kernel
def _unlink(e: Engine, adapter: int) -> None:
    if linked(e.cpu_lru, adapter):
        remove(e.cpu_lru, adapter)
    if linked(e.gpu_lru, adapter):
        remove(e.gpu_lru, adapter)


@kernel
def _link_by_use(e: Engine, lru: Links, adapter: int) -> None:
    """Link an adapter behind those of earlier last use; within a step of use the set order decides."""
    a = e.adapters
    sentinel = e.config[0].base_model
    before = last(lru, sentinel)
    while before != sentinel and _used_before(e, adapter, a[adapter].last_step, before):
        before = preceding(lru, before)
    insert_before(lru, following(lru, before), adapter)


@kernel
def _used_before(e: Engine, adapter: int, step: int, unused: int) -> bool:
    """Whether `adapter`, last touched in `step`, was touched before the adapter `unused`."""
    a = e.adapters
    if step != a[unused].last_step:
        return bool(step < a[unused].last_step)
    return bool(a[adapter].set_order < a[unused].set_order)


@kernel
def _oldest(e: Engine, unused: int, used: int, touched: int) -> int:
    """The adapter touched longest ago: the first unused one, or the first in use whose turn is to come.

    Adapters in use were last touched in the step `touched`.
    """
    c, s = e.config[0], e.state[0]
    if used < s.active and (unused == c.base_model or _used_before(e, e.active[used], touched, unused)):
        return int(e.active[used])
    return unused


@kernel
def _have_in_slot(e: Engine, adapter: int, place: int, touched: int) -> None:
    """Load `adapter`, whose turn is at `place` among the active ones, into what it is missing from."""
    s, a = e.state[0], e.adapters
    if not a[adapter].in_cpu or a[adapter].reload:
        note(e, step_log.LOADED, adapter, 0)
        s.stall_s += a[adapter].disk_s
        s.disk_loads += 1
        _take_cpu_place(e, adapter, place, touched)
    if a[adapter].slot < 0:
        s.stall_s += a[adapter].cpu_to_gpu_s
        s.gpu_loads += 1
        row = e.series[s.bin]
        row[6] += 1
        _take_slot(e, adapter, place, touched)


@kernel
def _take_cpu_place(e: Engine, adapter: int, place: int, touched: int) -> None:
    """Make a place in host memory: an adapter that is read anew gives up its own, else the oldest does."""
    c, s, a = e.config[0], e.state[0], e.adapters
    if a[adapter].in_cpu:
        if a[adapter].slot >= 0:
            _empty_slot(e, adapter)
        note(e, step_log.CPU_EVICTED, adapter, 0)
    elif s.in_cpu < c.max_cpu_loras:
        s.in_cpu += 1
    else:
        used = place + 1
        while used < s.active and (a[e.active[used]].fresh or not a[e.active[used]].in_cpu):
            used += 1
        oldest = _oldest(e, following(e.cpu_lru, c.base_model), used, touched)
        note(e, step_log.CPU_EVICTED, oldest, 0)
        a[oldest].in_cpu = False
        if a[oldest].slot >= 0:
            _empty_slot(e, oldest)
        if linked(e.cpu_lru, oldest):
            remove(e.cpu_lru, oldest)
    a[adapter].in_cpu = True


@kernel
def _take_slot(e: Engine, adapter: int, place: int, touched: int) -> None:
    """Give an adapter the lowest free slot, or else that of the oldest."""
    c, s, a = e.config[0], e.state[0], e.adapters
    slot = 0
    if s.free_slots == 0:
        used = place + 1
        while used < s.active and (a[e.active[used]].fresh or a[e.active[used]].slot < 0):
            used += 1
        oldest = _oldest(e, following(e.gpu_lru, c.base_model), used, touched)
        slot = a[oldest].slot
        _empty_slot(e, oldest)
    while e.slots[slot] >= 0:
        slot += 1
    e.slots[slot] = adapter
    a[adapter].slot = slot
    s.free_slots -= 1
    note(e, step_log.ACTIVATED, adapter, slot)


@kernel
def _empty_slot(e: Engine, adapter: int) -> None:
    """Evict from the GPU; an adapter of this step whose turn is to come must then be loaded again."""
    s, a = e.state[0], e.adapters
    note(e, step_log.GPU_EVICTED, adapter, 0)
    e.slots[a[adapter].slot] = -1
    a[adapter].slot = -1
    s.free_slots += 1
    if linked(e.gpu_lru, adapter):
        remove(e.gpu_lru, adapter)
    else:
        s.untouched += 1
