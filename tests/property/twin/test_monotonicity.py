"""More never harms where physics says so (numbers: docs/invariants.md).

In general it may: a shorter step or one more seat can change who shares a batch with whom, as in any list
scheduling. These are the cases in which it cannot.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_twin.engine.building import new_engine
from adapter_twin.engine.loop import run_engine
from adapter_twin.engine.policy import SchedulerPolicy
from adapter_twin.engine.step_time import N_COEFFICIENTS
from adapter_twin.memory import memory_verdict
from adapter_twin.profile import load_profile
from reference_engine import cases, engine_for

ALL_AT_ONCE = 10_000
AMPLE = SchedulerPolicy(
    max_num_seqs=ALL_AT_ONCE,
    max_num_batched_tokens=ALL_AT_ONCE,
    blocks=10 * ALL_AT_ONCE,
    max_loras=ALL_AT_ONCE,
    max_cpu_loras=ALL_AT_ONCE,
)


@st.composite
def arrivals(draw):
    """Prompts and outputs that arrive at whole seconds."""
    count = draw(st.integers(1, 40))

    def column(numbers):
        return np.array(draw(st.lists(numbers, min_size=count, max_size=count)))

    gaps = column(st.sampled_from([0, 0, 1, 3]))
    return np.cumsum(gaps, dtype=float), column(st.integers(1, 20)), column(st.integers(1, 12))


def finish_s(policy, arrived):
    """With steps of one second, whatever they hold."""
    arrival_s, prompt, output = arrived
    nothing = np.zeros(0)
    base_model = np.full(prompt.size, -1)
    engine = new_engine(
        policy,
        np.zeros(N_COEFFICIENTS),
        arrival_s,
        prompt,
        output,
        base_model,
        nothing,
        nothing,
        fixed_step_s=1.0,
        duration_s=1e6,
    )
    run_engine(engine)
    return engine.requests.finish_s


@given(arrivals(), st.integers(1, 6), st.booleans())
@settings(max_examples=150, deadline=None)
def test_invariant_16_a_further_seat_delays_nobody(arrived, seats, ahead):
    few = replace(AMPLE, max_num_seqs=seats, async_scheduling=ahead)
    assert np.all(finish_s(replace(few, max_num_seqs=seats + 1), arrived) <= finish_s(few, arrived))


@given(cases())
@settings(max_examples=150, deadline=None)
def test_invariant_16_no_limit_beats_none(case):
    """And without any limit a request takes as many steps as its output has tokens."""
    arrived = np.floor(case.arrival_s), np.array(case.prompt), np.array(case.output)
    unlimited = finish_s(AMPLE, arrived)
    assert np.array_equal(unlimited, arrived[0] + arrived[2])
    limited = finish_s(replace(case.policy, max_connections=ALL_AT_ONCE, async_scheduling=False), arrived)
    assert np.all(unlimited <= limited)


@given(cases(), st.data())
@settings(max_examples=150, deadline=None)
def test_invariant_16_a_faster_engine_delays_nobody(case, data):
    """When all requests are there from the start, so that the pace cannot change who meets whom."""
    case = replace(case, arrival_s=[0.0] * len(case.prompt), duration_s=1e9)
    share = st.floats(0.2, 1.0)
    shares = data.draw(st.lists(share, min_size=N_COEFFICIENTS, max_size=N_COEFFICIENTS))
    faster = replace(case, coefficients=[c * k for c, k in zip(case.coefficients, shares, strict=True)])
    slow, fast = engine_for(case), engine_for(faster)
    run_engine(slow)
    run_engine(fast)
    limits = 1e-9 + slow.requests.finish_s
    assert np.all((fast.requests.finish_s <= limits) | np.isnan(slow.requests.finish_s))


@pytest.mark.parametrize("name", ["llama-3.1-8b-instruct-h100-64gb", "qwen-2.5-7b-instruct-h100-64gb"])
def test_invariant_16_slots_and_ranks_only_take_memory(name):
    profile = load_profile(name)

    def tokens(slots, rank, utilization=0.9):
        return memory_verdict(profile, slots, rank, gpu_memory_utilization=utilization).kv_cache_tokens

    for rank in (8, 16, 32, 64):
        by_slots = [tokens(2**k, rank) for k in range(9)]  # single slots may fit better into segments
        assert by_slots == sorted(by_slots, reverse=True)
    for slots in (1, 16, 128):
        by_rank = [tokens(slots, rank) for rank in (8, 16, 32, 64, 128)]
        assert by_rank == sorted(by_rank, reverse=True)
        by_memory = [tokens(slots, 16, utilization) for utilization in np.linspace(0.3, 1.0, 30)]
        assert by_memory == sorted(by_memory)
