"""A closed-loop client, as `vllm bench serve --max-concurrency`: it has at most so many requests open.

The requests that it holds back arrive at infinity until it sends them; it sends them in order, so arrivals
stay sorted. A request's own arrival is when it was sent: the client's queue is no part of its TTFT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.engine.compiling import kernel

if TYPE_CHECKING:
    from adapter_twin.engine.state import Engine


def hold_back(e: Engine, concurrency: int) -> Engine:
    """The engine at rest, with a client that keeps at most `concurrency` requests open."""
    intended_s = e.requests.arrival_s.copy()
    e.requests.arrival_s[concurrency:] = np.inf
    e.state.held_back = concurrency
    return e._replace(intended_s=intended_s)


@kernel
def send_next(e: Engine, delivered_s: float) -> None:
    """A request has ended: the next one may go, though not before it was meant to."""
    s = e.state[0]
    if s.held_back < e.intended_s.size:
        e.requests[s.held_back].arrival_s = max(delivered_s, e.intended_s[s.held_back])
        s.held_back += 1
