"""One call per engine step: who computes how many tokens, by vLLM V1's rules.

Running requests come first, in order of admission, then waiting ones while budget, seats and blocks last.
One whose last token is in flight (ENDING) still runs, but has nothing left to compute: it is passed over.
DECODING requests advance by one token in every step, so they are scheduled all at once in O(1); requests are
visited one by one only when the budget or the blocks cannot serve all of them, or when several are computing.
"""

from __future__ import annotations

from adapter_twin.engine import step_log
from adapter_twin.engine.adapter_tiers import begin_use, end_use
from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.decoding import stop_decoding
from adapter_twin.engine.linked_list import append, following, last, remove
from adapter_twin.engine.state import COMPUTING, DECODING, ENDING, Engine
from adapter_twin.engine.step_log import note
from adapter_twin.engine.waiting_queue import NOBODY, dequeue, next_candidate, requeue_first, update_candidate

_END_OF_QUEUE = 2**62
_START_OF_QUEUE = -(2**62)


@kernel
def schedule(e: Engine) -> None:
    """Decide what the step at `state.time_s` holds."""
    c, s = e.config[0], e.state[0]
    s.step += 1
    s.budget = c.budget
    s.decodes = s.prefill_tokens = s.batch_size = s.preempted = 0
    s.prefill_cap = _prefill_cap(e)
    s.scan_end = _START_OF_QUEUE
    if not _schedule_running_at_once(e):
        _schedule_running_one_by_one(e)
    if s.preempted == 0:
        _admit_waiting(e)


@kernel
def _prefill_cap(e: Engine) -> int:
    """Most tokens that one request may compute in this step."""
    c, s = e.config[0], e.state[0]
    requests = s.running + s.waiting
    if c.threshold == 0 or (c.lone_unlimited and requests == 1):
        return int(c.budget)
    if c.threshold_adaptive:
        return int(max(c.threshold, c.budget // requests))
    return int(c.threshold)


@kernel
def _schedule_running_at_once(e: Engine) -> bool:
    """Serve all running requests together if budget and blocks suffice; otherwise change nothing."""
    c, s, r = e.config[0], e.state[0], e.requests
    blocks = e.block_demand[(s.step - 1) % c.block_size]
    if s.computing > 1 or s.decoding > s.budget or blocks > s.free_blocks:
        return False
    i = last(e.running, r.size)
    chunk = 0
    if s.computing == 1:
        if r[i].phase != COMPUTING:
            return False
        chunk = min(_missing_tokens(e, i), s.budget - s.decoding)
        if blocks + _blocks_for(e, i, chunk) > s.free_blocks:
            return False
    s.decodes = s.decoding
    s.budget -= s.decodes
    s.context += s.decodes
    s.free_blocks -= blocks
    if chunk > 0:
        _compute_chunk(e, i, chunk)
    return True


@kernel
def _schedule_running_one_by_one(e: Engine) -> None:
    """Serve running requests in order; whoever lacks blocks preempts the last one, perhaps itself."""
    s, r = e.state[0], e.requests
    i = following(e.running, r.size)
    while i != r.size and s.budget > 0:
        if r[i].phase == ENDING:
            i = following(e.running, i)
            continue
        chunk = min(_missing_tokens(e, i), s.budget)
        blocks = _blocks_for(e, i, chunk)
        if not _make_room(e, i, blocks):
            return
        if r[i].phase == DECODING:
            s.decodes += 1
            s.budget -= 1
            s.context += 1
            s.free_blocks -= blocks
        else:
            _compute_chunk(e, i, chunk)
        i = following(e.running, i)
    while i != r.size:
        if r[i].phase == DECODING:
            stop_decoding(e, i, s.step - 1)
        i = following(e.running, i)


@kernel
def _make_room(e: Engine, i: int, blocks: int) -> bool:
    """Preempt from the end of the running list until `blocks` are free; False if `i` itself had to go."""
    s = e.state[0]
    while blocks > s.free_blocks:
        victim = last(e.running, e.requests.size)
        _preempt(e, victim)
        if victim == i:
            return False
    return True


@kernel
def _preempt(e: Engine, i: int) -> None:
    """Take a request's blocks and put it first in the queue, to compute all its tokens again."""
    s, r = e.state[0], e.requests
    leave_running(e, i, s.step - 1)
    r[i].computed = 0
    r[i].preemptions += 1
    s.preempted += 1
    s.preemptions += 1
    requeue_first(e, i)
    note(e, step_log.PREEMPTED, i, 0)


@kernel
def _admit_waiting(e: Engine) -> None:
    """Admit in queue order until the budget, the seats or the blocks end the scan."""
    c, s, r = e.config[0], e.state[0], e.requests
    while s.budget > 0 and s.running < c.max_running:
        i = next_candidate(e)
        if i == NOBODY:
            s.scan_end = _END_OF_QUEUE
            return
        s.scan_end = r[i].order
        chunk = min(_missing_tokens(e, i), s.budget)
        needed = -(-_known_tokens(e, i) // c.block_size) if c.reserve_full else _blocks_for(e, i, chunk)
        kept = c.watermark if s.running > 0 else 0
        if needed + kept > s.free_blocks:
            return
        _admit(e, i, chunk)


@kernel
def _admit(e: Engine, i: int, chunk: int) -> None:
    s, r = e.state[0], e.requests
    note(e, step_log.RESUMED if r[i].preemptions > 0 else step_log.ADMITTED, i, 0)
    dequeue(e, i)
    append(e.running, r.size, i)
    s.admissions += 1
    r[i].admission = s.admissions
    r[i].phase = COMPUTING
    s.running += 1
    s.computing += 1
    begin_use(e, r[i].adapter)
    update_candidate(e, r[i].adapter)
    _compute_chunk(e, i, chunk)


@kernel
def stop_scheduling(e: Engine, i: int) -> None:
    """The last token of a running request is on its way: until then it keeps its seat and its blocks."""
    c, s, r = e.config[0], e.state[0], e.requests
    if r[i].phase == DECODING:
        stop_decoding(e, i, s.step)
    r[i].phase = ENDING
    s.computing -= 1
    s.context -= r[i].computed
    if not c.limit_counts_running:
        _let_adapter_go(e, i, s.step)


@kernel
def leave_running(e: Engine, i: int, last_step: int) -> None:
    """Take a running request, last scheduled in `last_step` or ENDING, off the list; free what it holds."""
    c, s, r = e.config[0], e.state[0], e.requests
    if r[i].phase == DECODING:
        stop_decoding(e, i, last_step)
    if r[i].phase == COMPUTING:
        s.computing -= 1
        s.context -= r[i].computed
    if r[i].phase == COMPUTING or c.limit_counts_running:
        _let_adapter_go(e, i, last_step)
    remove(e.running, i)
    s.running -= 1
    s.free_blocks += -(-r[i].computed // c.block_size)


@kernel
def _let_adapter_go(e: Engine, i: int, last_step: int) -> None:
    end_use(e, e.requests[i].adapter, last_step)
    update_candidate(e, e.requests[i].adapter)


@kernel
def _compute_chunk(e: Engine, i: int, chunk: int) -> None:
    """Schedule `chunk` tokens of a COMPUTING request."""
    s, r = e.state[0], e.requests
    s.free_blocks -= _blocks_for(e, i, chunk)
    s.budget -= chunk
    s.context += chunk
    s.prefill_tokens += chunk
    r[i].computed += chunk
    r[i].chunk = chunk
    e.batch[s.batch_size] = i
    s.batch_size += 1


@kernel
def _known_tokens(e: Engine, i: int) -> int:
    """Prompt and generated tokens of a request that is not DECODING."""
    return int(e.requests[i].prompt + e.requests[i].generated)


@kernel
def _missing_tokens(e: Engine, i: int) -> int:
    """Tokens that a request may compute in this step, but for the budget."""
    if e.requests[i].phase == DECODING:
        return 1
    return int(min(_known_tokens(e, i) - e.requests[i].computed, e.state[0].prefill_cap))


@kernel
def _blocks_for(e: Engine, i: int, chunk: int) -> int:
    """Blocks that a request needs, beyond those it holds, to compute `chunk` tokens."""
    c, s, r = e.config[0], e.state[0], e.requests
    computed = s.step - 1 - r[i].zero_step if r[i].phase == DECODING else r[i].computed
    return int(-(-(computed + chunk) // c.block_size) + (-computed // c.block_size))
