"""A mean-field model of a replica: the steady state of its engine in closed form.

The engine's step time says how fast a batch decodes; Little's law says how large a batch the arrivals make.
Where the two meet is the steady state. Where they do not meet below the largest batch that KV cache, sequence
limit and token budget allow, the replica is saturated: requests queue, and the queue slows the steps.

Slots are a second queue. An adapter holds its slot for a busy period: until none of its requests runs. Where
the adapters' busy periods do not fit in the slots, adapters wait for one, and their backlog lengthens their
next busy period; the wait is such that the slots held come to the slots there are.

None of it knows of randomness: bursts, blocks that fragment, slots that happen to be held. That is what the
trees learn, from the twin, with these figures as their features.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from adapter_twin.engine.step_time import step_time

FloatArray = NDArray[np.float64]

HORIZON_S: Final = 3600.0
"""Seconds for which a replica is loaded: a queue that never stops growing is judged after an hour."""

COLUMNS: Final = (
    "batch",
    "active_adapters",
    "itl_s",
    "ttft_s",
    "capacity_per_s",
    "slot_wait_s",
    "served",
    "full_itl_s",
    "full_active_adapters",
)
"""What `steady_states` returns for each load, in this order."""

LOAD_COLUMNS: Final = (
    "prompt_tokens",
    "output_tokens",
    "held_tokens",
    "slots",
    "rank",
    "largest_batch",
    "connections",
    "recomputed",
    "load_s",
)
"""What `steady_states` takes for each load beside its rates: means of prompt and output, KV tokens that a
running request holds, adapter slots and their rank, requests that can run at once, open requests at which
clients stop connecting, prompts computed again per request while the KV cache is full, and seconds to
load one adapter."""

_PROMPT, _OUTPUT, _HELD, _SLOTS, _RANK, _LARGEST_BATCH, _CONNECTIONS, _RECOMPUTED, _LOAD_S = range(
    len(LOAD_COLUMNS)
)

_NO_RATE: Final = 1e-9
"""Requests/s that are none: one in thirty years."""

_BINS: Final = 64
_BINS_PER_DECADE: Final = 8
_LOWEST_RATE_LOG10: Final = -6.0
_BATCH_BISECTIONS: Final = 24
_WAIT_BISECTIONS: Final = 20
_ROUNDS: Final = 8
_BACKLOG_EFFECT: Final = 1.0
_MOST_BUSY: Final = 30.0
_FULLNESS_POWER: Final = 16.0
_CHAIN: Final = 0.8
_CHAIN_POWER: Final = 0.6
_MOST_LOADING: Final = 0.6


@njit(nogil=True, cache=True)
def _bin_rates(rates: FloatArray, mix: FloatArray) -> int:
    """Put adapters of like rates together: rows (mean rate, adapters) of `mix`; returns how many rows."""
    mix[:] = 0.0
    for rate in rates:
        if rate > _NO_RATE:
            index = int((np.log10(rate) - _LOWEST_RATE_LOG10) * _BINS_PER_DECADE)
            index = min(max(index, 0), _BINS - 1)
            mix[index, 0] += rate
            mix[index, 1] += 1.0
    used = 0
    for index in range(_BINS):
        if mix[index, 1] > 0.0:
            mix[used, 0] = mix[index, 0] / mix[index, 1]
            mix[used, 1] = mix[index, 1]
            used += 1
    return used


@njit(nogil=True, cache=True)
def _active_adapters(mix: FloatArray, seconds: float) -> float:
    """Distinct adapters expected among requests that each stay for `seconds` and arrive independently."""
    expected = 0.0
    for rate, count in mix:
        expected += count * (1.0 - np.exp(-rate * seconds))
    return expected


@njit(nogil=True, cache=True)
def _decode_step_s(c: FloatArray, load: FloatArray, mix: FloatArray, batch: float, waiting: float) -> float:
    """Seconds between two tokens of a request that decodes among `batch` others.

    In a steady state every step starts as many requests as it ends: a step of `batch` decodes holds
    `batch / output` prompts, and more where a full KV cache makes the engine preempt and compute again.
    """
    decodes = batch + 1.0
    fullness = (batch / load[_LARGEST_BATCH]) ** _FULLNESS_POWER
    prefills = batch / load[_OUTPUT] * (1.0 + load[_RECOMPUTED] * fullness)
    return float(
        step_time(
            c,
            decodes,
            prefills * load[_PROMPT],
            decodes * load[_HELD],
            prefills,
            min(load[_SLOTS], _active_adapters(mix, decodes / _rate(mix))),
            load[_SLOTS],
            load[_RANK],
            waiting,
        )
    )


@njit(nogil=True, cache=True)
def _prompt_s(c: FloatArray, load: FloatArray) -> float:
    """Seconds that one request's prompt adds to a step."""
    slots, rank, tokens = load[_SLOTS], load[_RANK], load[_PROMPT]
    with_prompt = step_time(c, 1.0, tokens, tokens, 1.0, 1.0, slots, rank, 0.0)
    return float(with_prompt - step_time(c, 1.0, 0.0, tokens, 0.0, 1.0, slots, rank, 0.0))


@njit(nogil=True, cache=True)
def _rate(mix: FloatArray) -> float:
    total = 0.0
    for rate, count in mix:
        total += rate * count
    return max(total, _NO_RATE)


@njit(nogil=True, cache=True)
def _batch(c: FloatArray, load: FloatArray, mix: FloatArray, arriving: float, waiting: float) -> float:
    """The batch at which requests end as fast as they arrive, or the largest there can be."""
    low, high = 0.0, load[_LARGEST_BATCH]
    for _ in range(_BATCH_BISECTIONS):
        batch = 0.5 * (low + high)
        if arriving * load[_OUTPUT] * _decode_step_s(c, load, mix, batch, waiting) > batch:
            low = batch
        else:
            high = batch
    return float(0.5 * (low + high))


@njit(nogil=True, cache=True)
def _busy_s(rate: float, stay_s: float, wait_s: float) -> float:
    """Seconds for which an adapter holds its slot, once it has it after `wait_s`.

    The busy period of M/G/∞ that one request starts, longer by what the backlog adds to its longest request.
    """
    fresh: float = np.expm1(min(rate * stay_s, _MOST_BUSY)) / rate
    return float(fresh + _BACKLOG_EFFECT * stay_s * np.log1p(rate * wait_s))


@njit(nogil=True, cache=True)
def _slots_held(mix: FloatArray, stay_s: float, wait_s: float) -> float:
    """Slots that the adapters would hold on average if each waited `wait_s` for its slot."""
    held = 0.0
    for rate, count in mix:
        busy = _busy_s(rate, stay_s, wait_s)
        held += count * busy / (1.0 / rate + wait_s + busy)
    return held


@njit(nogil=True, cache=True)
def _slot_wait_s(mix: FloatArray, stay_s: float, slots: float) -> float:
    """Seconds that an adapter waits for a slot."""
    if _slots_held(mix, stay_s, 0.0) <= slots:
        return 0.0
    low, high = 0.0, HORIZON_S
    for _ in range(_WAIT_BISECTIONS):
        wait = 0.5 * (low + high)
        if _slots_held(mix, stay_s, wait) > slots:
            low = wait
        else:
            high = wait
    return float(0.5 * (low + high))


@njit(nogil=True, cache=True)
def _request_wait_s(mix: FloatArray, stay_s: float, wait_s: float, slots: float) -> float:
    """Seconds that a request waits for its adapter's slot, on average over all requests.

    Of an adapter's requests, those wait that arrive before it has its slot: the first for all of `wait_s`,
    the others for half of it on average. Where no wait is long enough, adapters have a slot only for the part
    of the time that there are slots for.
    """
    waited = 0.0
    granted = min(1.0, slots / max(_slots_held(mix, stay_s, wait_s), _NO_RATE))
    for rate, count in mix:
        backlog = 1.0 + rate * wait_s
        busy = _busy_s(rate, stay_s, wait_s)
        late = 1.0 - granted * rate * busy / (backlog + rate * busy)
        waited += count * rate * late * wait_s * (0.5 + 0.5 / backlog)
    return float(waited / _rate(mix))


@njit(nogil=True, cache=True)
def _loading(mix: FloatArray, load: FloatArray, stay_s: float, wait_s: float) -> float:
    """Share of the time for which the engine stands still to load adapters into slots.

    Adapters that idle in spare slots need no loading. Where none are spare, one new adapter pushes out
    another that is needed in the same step, and so on: the more slots, the longer the chain of loads.
    """
    adapters, taken = 0.0, 0.0
    for rate, count in mix:
        adapters += count
        taken += count / (1.0 / rate + wait_s + _busy_s(rate, stay_s, wait_s))
    active = min(load[_SLOTS], _slots_held(mix, stay_s, wait_s))
    if adapters <= load[_SLOTS]:
        return 0.0
    absent = (adapters - load[_SLOTS]) / (adapters - active)
    longest_chain = max(1.0, _CHAIN * load[_SLOTS] ** _CHAIN_POWER)
    chain = 1.0 + (longest_chain - 1.0) * (active / load[_SLOTS]) ** _FULLNESS_POWER
    return float(min(_MOST_LOADING, taken * absent * chain * load[_LOAD_S]))


@njit(nogil=True, cache=True)
def _steady_state(c: FloatArray, load: FloatArray, mix: FloatArray, out: FloatArray) -> None:
    """Write the steady state of one load into `out`; batch, slots and queues are solved for in turn."""
    total = _rate(mix)
    waiting, wait, delay = 0.0, 0.0, 0.0
    batch, itl, capacity, served_by_slots, slowdown = 0.0, 0.0, 0.0, 1.0, 1.0
    for _ in range(_ROUNDS):
        arriving = total * served_by_slots
        full = load[_LARGEST_BATCH]
        capacity = full / (load[_OUTPUT] * slowdown * _decode_step_s(c, load, mix, full, waiting))
        batch = _batch(c, load, mix, arriving * slowdown, waiting)
        itl = slowdown * _decode_step_s(c, load, mix, batch, waiting)
        stay = load[_OUTPUT] * itl
        wait = _slot_wait_s(mix, stay, load[_SLOTS])
        slowdown = 0.5 * slowdown + 0.5 / (1.0 - _loading(mix, load, stay, wait))
        delay = _request_wait_s(mix, stay, wait, load[_SLOTS])
        served_by_slots = 0.5 * served_by_slots + 0.5 * (1.0 - min(delay / HORIZON_S, 1.0))
        queue = 0.5 * HORIZON_S * max(total - capacity, 0.0) + arriving * delay
        waiting = 0.5 * waiting + 0.5 * min(load[_CONNECTIONS], queue)
    served_by_engine = min(1.0, capacity / total)
    queued = max(0.5 * HORIZON_S * (1.0 - served_by_engine), delay)
    out[0] = batch
    out[1] = _active_adapters(mix, load[_OUTPUT] * itl)
    out[2] = itl
    out[3] = 1.5 * itl + _prompt_s(c, load) + queued
    out[4] = capacity
    out[5] = wait
    out[6] = min(served_by_engine, served_by_slots)
    out[7] = _decode_step_s(c, load, mix, load[_LARGEST_BATCH], 0.0)
    out[8] = _active_adapters(mix, load[_LARGEST_BATCH] / total)


@njit(nogil=True, cache=True)
def steady_states(
    c: FloatArray, rates: FloatArray, offsets: NDArray[np.int64], loads: FloatArray
) -> FloatArray:
    """The steady state of each load, shape (n, len(COLUMNS)).

    Args:
        c: Coefficients of the step time.
        rates: Requests/s of the adapters of all loads, one load after another.
        offsets: Where each load's rates begin, shape (n + 1).
        loads: The rest of each load, shape (n, len(LOAD_COLUMNS)).
    """
    states = np.empty((loads.shape[0], len(COLUMNS)))
    mix = np.empty((_BINS, 2))
    for i in range(loads.shape[0]):
        used = _bin_rates(rates[offsets[i] : offsets[i + 1]], mix)
        _steady_state(c, loads[i], mix[:used], states[i])
    return states


@njit(nogil=True, cache=True)
def mixes(rates: FloatArray, offsets: NDArray[np.int64]) -> FloatArray:
    """How each load's rates are mixed, shape (n, 4): adapters, rate, top share, effective adapters."""
    found = np.zeros((offsets.size - 1, 4))
    for i in range(offsets.size - 1):
        count, total, squares, top = 0.0, 0.0, 0.0, 0.0
        for rate in rates[offsets[i] : offsets[i + 1]]:
            if rate > _NO_RATE:
                count += 1.0
                total += rate
                squares += rate * rate
                top = max(top, rate)
        found[i, 0] = count
        found[i, 1] = total
        if total > 0.0:
            found[i, 2] = top / total
            found[i, 3] = total * total / squares
    return found
