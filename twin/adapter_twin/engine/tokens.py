"""What a batch yields: tokens that count when it is launched, and reach their clients when it has ended."""

from __future__ import annotations

import numpy as np

from adapter_twin.engine import step_log
from adapter_twin.engine.client import send_next
from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.decoding import start_decoding
from adapter_twin.engine.front_end import count_chunks, count_gaps
from adapter_twin.engine.linked_list import following
from adapter_twin.engine.scheduler import leave_running, stop_scheduling
from adapter_twin.engine.state import DECODING, ENDING, FINISHED, Engine
from adapter_twin.engine.step_log import note
from adapter_twin.engine.waiting_queue import dequeue


@kernel
def list_decoding(e: Engine) -> None:
    """List who decodes in the scheduled batch: their clients get its tokens, as those of `sampled` do."""
    s, r = e.state[0], e.requests
    batch = s.step & 1
    e.batches[batch].streamed = 0
    i = following(e.running, r.size)
    while i != r.size:
        if r[i].phase == DECODING:
            e.streamed[batch, e.batches[batch].streamed] = i
            e.batches[batch].streamed += 1
        i = following(e.running, i)


@kernel
def count_tokens(e: Engine) -> None:
    """A token for everyone in the batch who has computed all known tokens."""
    c, s, r = e.config[0], e.state[0], e.requests
    batch = s.step & 1
    sampled = ended = 0
    i = following(e.buckets, r.size + (s.step & c.bucket_mask))
    while i < r.size:
        after = following(e.buckets, i)
        stop_scheduling(e, i)
        e.ended[batch, ended] = i
        ended += 1
        i = after
    for k in range(s.batch_size):
        i = e.batch[k]
        r[i].chunk = 0
        if r[i].computed < r[i].prompt + r[i].generated:
            continue
        r[i].generated += 1
        e.sampled[batch, sampled] = i
        sampled += 1
        if r[i].generated == r[i].output:
            stop_scheduling(e, i)
            e.ended[batch, ended] = i
            ended += 1
        else:
            start_decoding(e, i)
    e.batches[batch].decodes = s.decodes
    e.batches[batch].prefill_tokens = s.prefill_tokens
    e.batches[batch].sampled = sampled
    e.batches[batch].ended = ended


@kernel
def deliver_tokens(e: Engine, batch: int, delivered_s: float) -> None:
    """Write down when first tokens, and gaps between tokens, reached the clients."""
    b, r = e.batches[batch], e.requests
    if b.decodes > 0:
        count_chunks(e, delivered_s, b.decodes)
    for k in range(b.sampled):
        i = e.sampled[batch, k]
        if np.isnan(r[i].first_token_s):
            r[i].first_token_s = delivered_s
        else:
            count_gaps(e, delivered_s - r[i].last_token_s, 1)


@kernel
def finish_requests(e: Engine, batch: int, delivered_s: float) -> None:
    """Let requests go, in running order; seats, blocks and adapters are free in the next step.

    One that was preempted while its last token was in flight has none of these left, and leaves the queue.
    """
    s, r = e.state[0], e.requests
    ended, count = e.ended[batch], e.batches[batch].ended
    for k in range(1, count):
        i, place = ended[k], k
        while place > 0 and r[ended[place - 1]].admission > r[i].admission:
            ended[place] = ended[place - 1]
            place -= 1
        ended[place] = i
    for k in range(count):
        i = ended[k]
        if r[i].phase == ENDING:
            leave_running(e, i, s.step)
        else:
            dequeue(e, i)
        r[i].phase = FINISHED
        r[i].finish_s = delivered_s
        note(e, step_log.FINISHED, i, r[i].generated)
        send_next(e, delivered_s)
