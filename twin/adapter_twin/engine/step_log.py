"""The optional log of every step: what the scheduler did, for tests and for comparison with vLLM.

A log is a sequence of records of three integers: a code and two values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.linked_list import following
from adapter_twin.engine.state import DECODING, Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP: Final = 0
"""Codes, with their values in brackets: [step time in whole seconds]."""
SCHEDULED: Final = 1
"""[request, tokens]"""
ADMITTED: Final = 2
"""[request]"""
RESUMED: Final = 3
"""[request]"""
PREEMPTED: Final = 4
"""[request]"""
FINISHED: Final = 5
"""[request, tokens generated]"""
QUEUED: Final = 6
"""[request], once per request in the waiting queue after scheduling"""
SKIPPED: Final = 7
"""[request]"""
BLOCKS_USED: Final = 8
"""[after scheduling]"""
BLOCKS_LEFT: Final = 9
"""[used at the end of the step]"""
LOADED: Final = 10
"""[adapter], from disk"""
CPU_EVICTED: Final = 11
"""[adapter]"""
ACTIVATED: Final = 12
"""[adapter, slot]"""
GPU_EVICTED: Final = 13
"""[adapter]"""
COMPUTED: Final = 14
"""[request, computed tokens], once per running request after scheduling"""
KNOWN: Final = 15
"""[request, tokens of prompt and output known so far], likewise"""

_WIDTH: Final = 3


@kernel
def note(e: Engine, code: int, first: int, second: int) -> None:
    """Append one record, if a log is kept."""
    s = e.state[0]
    if s.log_size + _WIDTH <= e.log.size:
        e.log[s.log_size] = code
        e.log[s.log_size + 1] = first
        e.log[s.log_size + 2] = second
        s.log_size += _WIDTH
    elif e.log.size > 0:
        s.log_size += _WIDTH  # tells the caller how much is missing


@kernel
def note_schedule(e: Engine) -> None:
    """Log what this step holds, after scheduling and before the forward pass."""
    c, s, r = e.config[0], e.state[0], e.requests
    end = r.size
    i = following(e.running, end)
    while i != end:
        tokens = 1 if r[i].phase == DECODING else r[i].chunk
        if tokens > 0:
            note(e, SCHEDULED, i, tokens)
        decoding = r[i].phase == DECODING
        computed = s.step - r[i].zero_step if decoding else r[i].computed
        note(e, COMPUTED, i, computed)
        note(e, KNOWN, i, computed if decoding else r[i].prompt + r[i].generated)
        i = following(e.running, i)
    i = following(e.waiting, end)
    while i != end:
        note(e, QUEUED, i, 0)
        if r[i].order < s.scan_end:
            note(e, SKIPPED, i, 0)
        i = following(e.waiting, i)
    note(e, BLOCKS_USED, c.blocks - s.free_blocks, 0)


def events(e: Engine) -> Iterator[tuple[int, int, int]]:
    """The records of a finished run's log: (code, first value, second value)."""
    size = int(e.state.log_size[0])
    yield from map(tuple, e.log[:size].reshape(-1, _WIDTH).tolist())
