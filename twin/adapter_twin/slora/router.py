"""Which waiting requests the router admits: LightLLM's rule, with adapters counted in.

Requests are taken in order of arrival and never preempted, so a batch is admitted only if it fits until its
end. Sort the running requests by the tokens that they may still generate, most first: when the k-th stops,
it and the k - 1 before it hold what they hold now and k times its remaining tokens more. The largest of these
sums must stay below the pool less the pages of all adapters involved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.state import COMPUTING

if TYPE_CHECKING:
    from adapter_twin.slora.state import Server


@kernel
def admit(e: Server) -> int:
    """Move those that fit from the head of the queue into the running batch; returns how many."""
    c, s = e.config[0], e.state[0]
    admitted = 0
    tokens = 0
    if s.decoded < s.retry:
        return 0
    while s.first_waiting < s.queued and s.running < c.running_max_req_size:
        i = e.queue[s.first_waiting]
        if tokens + e.requests[i].prompt > c.batch_max_tokens:
            break
        _join(e, i)
        room = c.blocks - s.pages
        peak = _peak_tokens(e)
        if peak >= room:
            _leave(e, i)
            if admitted == 0:
                s.retry = s.decoded + peak - room + 1
            break
        e.requests[i].phase = COMPUTING
        s.first_waiting += 1
        tokens += e.requests[i].prompt
        admitted += 1
    return admitted


@kernel
def _join(e: Server, i: int) -> None:
    """Insert `i` into the running batch, by falling limit, as if its prompt were computed already."""
    s, r = e.state[0], e.requests
    r[i].end = s.decoded + r[i].output - 1
    r[i].limit = s.decoded + r[i].asked - 1
    place = s.running
    while place > 0 and r[e.running[place - 1]].limit < r[i].limit:
        e.running[place] = e.running[place - 1]
        place -= 1
    e.running[place] = i
    s.running += 1
    s.context += r[i].prompt
    s.next_end = min(s.next_end, r[i].end)
    owner = e.adapters[r[i].adapter]
    if owner.running == 0:
        s.pages += owner.pages
        s.active += 1 if owner.pages > 0 else 0
    owner.running += 1


@kernel
def _leave(e: Server, i: int) -> None:
    """Undo `_join`; `next_end` may stay too early, which costs one look."""
    s = e.state[0]
    place = 0
    while e.running[place] != i:
        place += 1
    for k in range(place, s.running - 1):
        e.running[k] = e.running[k + 1]
    release(e, i, e.requests[i].prompt)


@kernel
def release(e: Server, i: int, tokens: int) -> None:
    """Free the tokens, and perhaps the adapter, of a request that was taken out of the running batch."""
    s = e.state[0]
    s.running -= 1
    s.context -= tokens
    owner = e.adapters[e.requests[i].adapter]
    owner.running -= 1
    if owner.running == 0:
        s.pages -= owner.pages
        s.active -= 1 if owner.pages > 0 else 0


@kernel
def _peak_tokens(e: Server) -> int:
    """The most tokens that the batch can come to hold."""
    s, r = e.state[0], e.requests
    held, most = 0, 0
    for k in range(s.running):
        i = e.running[k]
        remaining = r[i].limit - s.decoded
        held += r[i].prompt + r[i].output - (r[i].end - s.decoded)
        most = max(most, held + (k + 1) * remaining)
    return most
