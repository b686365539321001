"""Requests that decode: one token in every step, so all their counters follow from the number of the step.

They are kept in buckets by the step that gives them their last token, and counted by the steps in which they
need another block. A step costs nothing per decoding request.
"""

from __future__ import annotations

from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.linked_list import append, remove
from adapter_twin.engine.state import COMPUTING, DECODING, Engine


@kernel
def start_decoding(e: Engine, i: int) -> None:
    """From the next step on, a request that has computed all its known tokens yields one in every step."""
    c, s, r = e.config[0], e.state[0], e.requests
    r[i].phase = DECODING
    r[i].zero_step = s.step - r[i].computed
    r[i].finish_step = s.step + r[i].output - r[i].generated
    s.computing -= 1
    s.decoding += 1
    e.block_demand[r[i].zero_step % c.block_size] += 1
    append(e.buckets, r.size + (r[i].finish_step & c.bucket_mask), i)


@kernel
def stop_decoding(e: Engine, i: int, step: int) -> None:
    """Write down the counters of a decoding request as of the end of `step`; it is COMPUTING again."""
    c, s, r = e.config[0], e.state[0], e.requests
    r[i].phase = COMPUTING
    r[i].computed = step - r[i].zero_step
    r[i].generated = r[i].output - (r[i].finish_step - step)
    r[i].last_token_s = e.batches[step & 1].end_s
    s.computing += 1
    s.decoding -= 1
    e.block_demand[r[i].zero_step % c.block_size] -= 1
    remove(e.buckets, i)
