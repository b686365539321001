"""The waiting queue: one order over all requests, and who of it may be admitted now.

While the step holds fewer than `max_loras` adapters, the head of the queue may enter. Once it holds that
many, only requests of these adapters (or of the base model) may, and the others are passed over: the next is
the earliest among the heads of the active adapters' own queues, kept in a heap. So no step walks the queue.
"""

from __future__ import annotations

from typing import Final

from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.front_end import begin_waiting, end_waiting, handled_until, meet_adapter
from adapter_twin.engine.linked_list import append, following, prepend, remove
from adapter_twin.engine.state import REJECTED, WAITING, Engine

NOBODY: Final = -1


@kernel
def accept_arrivals(e: Engine) -> None:
    """Queue the requests that have arrived by now; turn away those above the cap on connections."""
    c, s, r = e.config[0], e.state[0], e.requests
    handled_s = handled_until(e)
    while s.next_arrival < s.submitted:
        i = e.upcoming[s.next_arrival & (e.upcoming.size - 1)]
        if r[i].arrival_s + c.request_s > handled_s:
            return
        meet_adapter(e, i)
        if s.tokenizers_until_s > s.time_s:
            return
        s.next_arrival += 1
        if s.running + s.waiting >= c.max_connections:
            r[i].phase = REJECTED
            s.rejected += 1
        else:
            s.queued += 1
            r[i].order = s.queued
            r[i].phase = WAITING
            s.waiting += 1
            append(e.waiting, r.size, i)
            queue = r.size + r[i].adapter
            append(e.queues, queue, i)
            if following(e.queues, queue) == i:
                begin_waiting(e, r[i].adapter)
                update_candidate(e, r[i].adapter)


@kernel
def requeue_first(e: Engine, i: int) -> None:
    """Put a preempted request at the front of the queue."""
    s, r = e.state[0], e.requests
    s.requeued += 1
    r[i].order = -s.requeued
    r[i].phase = WAITING
    s.waiting += 1
    prepend(e.waiting, r.size, i)
    if following(e.queues, r.size + r[i].adapter) == r.size + r[i].adapter:
        begin_waiting(e, r[i].adapter)
    prepend(e.queues, r.size + r[i].adapter, i)
    update_candidate(e, r[i].adapter)


@kernel
def dequeue(e: Engine, i: int) -> None:
    """Take an admitted request out of the queue."""
    remove(e.waiting, i)
    remove(e.queues, i)
    s, r = e.state[0], e.requests
    s.waiting -= 1
    if following(e.queues, r.size + r[i].adapter) >= r.size:
        end_waiting(e, r[i].adapter)
    update_candidate(e, r[i].adapter)


@kernel
def next_candidate(e: Engine) -> int:
    """The first request in queue order that the limit on adapters lets in, or NOBODY."""
    c, s, r = e.config[0], e.state[0], e.requests
    if s.waiting == 0:
        return NOBODY
    if s.active < c.max_loras:
        return int(following(e.waiting, r.size))
    if s.candidates == 0:
        return NOBODY
    return int(following(e.queues, r.size + e.heap[0]))


@kernel
def update_candidate(e: Engine, adapter: int) -> None:
    """Enter, move or remove an adapter in the heap after its queue's head or its use has changed."""
    s, r, a = e.state[0], e.requests, e.adapters
    head = following(e.queues, r.size + adapter)
    if a[adapter].running > 0 and head < r.size:
        a[adapter].head_order = r[head].order
        if a[adapter].place < 0:
            a[adapter].place = s.candidates
            s.candidates += 1
        _settle(e, adapter)
    elif a[adapter].place >= 0:
        place = a[adapter].place
        a[adapter].place = -1
        s.candidates -= 1
        if place < s.candidates:
            moved = e.heap[s.candidates]
            a[moved].place = place
            _settle(e, moved)


@kernel
def _settle(e: Engine, adapter: int) -> None:
    """Move an adapter from its place up or down to where the heap's order is right."""
    s, a = e.state[0], e.adapters
    place, key = a[adapter].place, a[adapter].head_order
    while place > 0:
        parent = (place - 1) // 2
        above = e.heap[parent]
        if a[above].head_order <= key:
            break
        e.heap[place] = above
        a[above].place = place
        place = parent
    while 2 * place + 1 < s.candidates:
        child = 2 * place + 1
        if child + 1 < s.candidates and a[e.heap[child + 1]].head_order < a[e.heap[child]].head_order:
            child += 1
        below = e.heap[child]
        if below == adapter or a[below].head_order >= key:
            break
        e.heap[place] = below
        a[below].place = place
        place = child
    e.heap[place] = adapter
    a[adapter].place = place
