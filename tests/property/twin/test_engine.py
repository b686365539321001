"""Invariants of the engine on small random cases; docs/invariants.md numbers and states them."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings

from adapter_twin.engine import step_log
from adapter_twin.engine.loop import run_engine
from adapter_twin.engine.state import FINISHED, REJECTED, WAITING
from reference_engine import Reference, by_step, cases, engine_for


@given(cases())
@settings(max_examples=300, deadline=None)
def test_takes_the_same_steps(case):
    """Invariant 1: every step of the engine is the reference's."""
    engine = engine_for(case)
    reference = Reference(case, engine.adapters.set_order.tolist())
    requests = reference.run()
    run_engine(engine)
    assert by_step(step_log.events(engine)) == by_step(reference.events)
    assert engine.requests.first_token_s == pytest.approx([r.first_token_s for r in requests], nan_ok=True)
    assert engine.requests.finish_s == pytest.approx([r.finish_s for r in requests], nan_ok=True)
    assert set(np.flatnonzero(engine.requests.phase == REJECTED)) == reference.rejected
    assert (
        int((engine.requests.phase == FINISHED).sum())
        == Counter(bool(np.isfinite(r.finish_s)) for r in requests)[True]
    )


def simulated(case):
    engine = engine_for(case)
    run_engine(engine)
    return engine


@given(cases())
@settings(max_examples=100, deadline=None)
def test_requests_are_conserved(case):
    """Invariant 3."""
    engine = simulated(case)
    state, phases = engine.state[0], Counter(engine.requests.phase.tolist())
    assert phases[WAITING] == state.waiting
    assert phases[REJECTED] == state.rejected
    arrived = sum(phases[phase] for phase in phases if phase > 0)
    assert arrived == phases[FINISHED] + state.running + state.waiting + state.rejected
    assert arrived == state.next_arrival


@given(cases())
@settings(max_examples=100, deadline=None)
def test_blocks_are_conserved(case):
    """Invariant 5: what is free and what running requests hold is all there is, and never negative."""
    engine = simulated(case)
    size = case.policy.block_size
    for step in by_step(step_log.events(engine)):
        held = sum(-(-tokens // size) for _, tokens in step.get(step_log.COMPUTED, ()))
        assert step[step_log.BLOCKS_USED] == [(held, 0)]
        assert held <= case.policy.blocks


@given(cases())
@settings(max_examples=100, deadline=None)
def test_limits_hold_in_every_step(case):
    """Invariant 6: token budget, seats, and distinct adapters."""
    policy = case.policy
    for step in by_step(step_log.events(simulated(case))):
        scheduled = step.get(step_log.SCHEDULED, ())
        running = [i for i, _ in step.get(step_log.COMPUTED, ())]
        assert sum(tokens for _, tokens in scheduled) <= policy.max_num_batched_tokens
        assert len(running) <= policy.max_running
        counted = running if policy.adapter_limit_counts_running else [i for i, _ in scheduled]
        assert len({case.adapter[i] for i in counted} - {-1}) <= policy.max_loras


@given(cases())
@settings(max_examples=100, deadline=None)
def test_first_come_first_served_within_an_adapter(case):
    """Invariant 7."""
    admitted = defaultdict(list)
    for code, request, _ in step_log.events(simulated(case)):
        if code == step_log.ADMITTED:
            admitted[case.adapter[request]].append(request)
    for order in admitted.values():
        assert order == sorted(order)


@given(cases())
@settings(max_examples=200, deadline=None)
def test_nobody_passes_but_those_who_may_not_enter(case):
    """Invariant 7: who is admitted passes only requests whose adapter finds no place in the step."""
    returned = set()
    for step in by_step(step_log.events(simulated(case))):
        returned.update(i for i, _ in step.get(step_log.PREEMPTED, ()))
        admitted = [i for i, _ in step.get(step_log.ADMITTED, ()) if i not in returned]
        passed_over = {i for i, _ in step.get(step_log.SKIPPED, ())}
        for i, _ in step.get(step_log.QUEUED, ()):
            assert i in passed_over or i in returned or i > max(admitted, default=-1)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_causes_come_before_effects(case):
    """Invariant 8: no token before its request arrived, none of it after the end."""
    requests = simulated(case).requests
    done = requests[requests.phase == FINISHED]
    assert np.all(done.arrival_s < done.first_token_s)
    assert np.all(done.first_token_s <= done.finish_s)
    assert np.all((done.first_token_s == done.finish_s) == (done.output == 1))
    assert np.all(done.finish_s <= case.duration_s)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_every_scheduled_token_is_accounted_for(case):
    """Invariant 4: a finished request computed its prompt and all but its last token once per try."""
    computed = Counter()
    done = {}
    for code, request, value in step_log.events(simulated(case)):
        if code == step_log.SCHEDULED:
            computed[request] += value
        elif code == step_log.PREEMPTED:
            computed[request] = 0
        elif code == step_log.FINISHED:
            done[request] = (computed[request], value)
    for request, (tokens, generated) in done.items():
        assert generated == case.output[request]
        if tokens == 0 and case.policy.async_scheduling:
            continue  # preempted while its last token was in flight
        assert tokens == case.prompt[request] + case.output[request] - 1


@given(cases())
@settings(max_examples=50, deadline=None)
def test_same_input_same_bytes(case):
    """Invariant 9."""
    first, second = simulated(case), simulated(case)
    assert first.requests.tobytes() == second.requests.tobytes()
    assert first.series.tobytes() == second.series.tobytes()
    assert first.log.tobytes() == second.log.tobytes()
