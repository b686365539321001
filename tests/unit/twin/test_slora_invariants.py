"""Invariants of the S-LoRA engine on small random cases."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_twin.engine.state import FINISHED, REJECTED, WAITING
from adapter_twin.profile import load_any_profile
from adapter_twin.profile.slora import PAGES_PER_RANK, SloraEngine
from adapter_twin.slora.loop import run_server
from adapter_twin.slora.replica import slora_server
from adapter_twin.workload import Adapter, Requests

PROFILE = load_any_profile("llama-2-7b-slora-h100-64gb")
DURATION_S = 60.0


@dataclass(frozen=True)
class Case:
    engine: SloraEngine
    requests: Requests
    adapters: tuple[Adapter, ...]


@st.composite
def cases(draw):
    """Few requests with short prompts on a pool that only some of them fit in."""
    count = draw(st.integers(1, 40))
    ranks = draw(st.lists(st.sampled_from((1, 8, 16)), max_size=4))
    longest = 24
    pool = longest + PAGES_PER_RANK * max(ranks, default=0) + draw(st.integers(1, 150))
    engine = SloraEngine(
        version="1.0",
        max_total_token_num=pool,
        batch_max_tokens=draw(st.integers(longest, 60)),
        running_max_req_size=draw(st.integers(1, 12)),
        max_wait_tokens=draw(st.integers(1, 4)),
        max_req_total_len=longest,
        max_new_tokens=draw(st.sampled_from((0, 8, 12))),
        idle_poll_s=draw(st.sampled_from((0.0, 0.01))),
        max_connections=draw(st.integers(1, 60)),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate = draw(st.sampled_from((2.0, 20.0, 1e4)))
    requests = Requests(
        np.cumsum(random.exponential(1 / rate, count)),
        random.integers(1, 13, count),
        random.integers(1, 13, count),
        random.integers(-1, len(ranks), count) if ranks else np.full(count, -1),
    )
    return Case(engine, requests, tuple(Adapter(f"a{i}", 1.0, rank) for i, rank in enumerate(ranks)))


def served(case, duration_s=DURATION_S):
    server = slora_server(PROFILE, case.engine, case.requests, case.adapters, duration_s)
    run_server(server)
    return server


@given(cases(), st.sampled_from((0.2, DURATION_S)))
@settings(max_examples=150, deadline=None)
def test_requests_are_conserved(case, duration_s):
    server = served(case, duration_s)
    state, phase = server.state[0], server.requests.phase
    waiting = state.queued - state.first_waiting
    assert (phase == WAITING).sum() == waiting
    assert (phase == REJECTED).sum() == state.rejected
    done = int((phase == FINISHED).sum())
    assert state.next_arrival == done + state.running + waiting + state.rejected
    assert np.isfinite(server.requests.finish_s).sum() == done


@given(cases())
@settings(max_examples=150, deadline=None)
def test_everybody_who_connects_is_served_and_all_memory_returns(case):
    server = served(case)
    state = server.state[0]
    assert set(server.requests.phase.tolist()) <= {FINISHED, REJECTED}
    assert state.running == state.context == state.pages == state.active == 0


@given(cases())
@settings(max_examples=150, deadline=None)
def test_the_pool_is_never_exceeded(case):
    assert served(case).state[0].most_blocks <= case.engine.max_total_token_num


@given(cases())
@settings(max_examples=150, deadline=None)
def test_causes_precede_effects_in_order_of_arrival(case):
    server = served(case)
    done = server.requests[server.requests.phase == FINISHED]
    earliest = done.arrival_s + PROFILE.front_end.request_s
    assert np.all(done.first_token_s > earliest)
    assert np.all(np.diff(done.first_token_s) >= 0)
    fastest = PROFILE.step_time.base * (done.output - 1)
    assert np.all(done.finish_s - done.first_token_s >= fastest - 1e-9)
    assert server.requests.finish_s[server.requests.phase != FINISHED].size == server.state[0].rejected


@pytest.mark.parametrize("duration_s", [7.7, 15.4, 30.8])
def test_the_time_series_ends_with_the_duration(duration_s):
    """120 bins of a 120th may sum to less than the duration."""
    count = int(duration_s * 10)
    requests = Requests(np.arange(count) / 10, np.full(count, 9), np.full(count, 40), np.full(count, -1))
    server = served(Case(PROFILE.engine, requests, ()), duration_s)
    assert server.series[:, 0].sum() == pytest.approx(duration_s)
    assert server.state[0].bin < server.series.shape[0]


@given(cases())
@settings(max_examples=50, deadline=None)
def test_repeats_give_the_same_bytes(case):
    assert served(case).requests.tobytes() == served(case).requests.tobytes()


@given(cases())
@settings(max_examples=100, deadline=None)
def test_adapters_are_loaded_when_nobody_runs_them(case):
    """At least once per adapter that was used, at most once per request."""
    server = served(case)
    done = server.requests[server.requests.phase == FINISHED]
    mine = done.adapter[done.adapter < len(case.adapters)]
    assert len(set(mine.tolist())) <= server.state[0].gpu_loads <= mine.size


def future_peak(batch):
    """The most tokens that a batch of (held, remaining) comes to hold, looked up step by step."""
    last = max(remaining for _, remaining in batch)
    return max(sum(held + step for held, remaining in batch if remaining >= step) for step in range(last + 1))


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_as_many_are_admitted_as_fit_until_their_ends(lengths):
    """All arrive at once: the first prefill takes the longest run of requests whose future fits."""
    pool = 60
    engine = SloraEngine(
        version="1.0",
        max_total_token_num=pool,
        batch_max_tokens=200,
        max_req_total_len=24,
        max_connections=99,
    )
    prompts, outputs = (np.array(column) for column in zip(*lengths, strict=True))
    requests = Requests(np.zeros(len(lengths)), prompts, outputs, np.full(len(lengths), -1))
    first = served(Case(engine, requests, ())).requests.first_token_s
    fitting = [
        future_peak([(prompt + 1, output - 1) for prompt, output in lengths[: count + 1]]) < pool
        for count in range(len(lengths))
    ]
    admitted = fitting.index(False) if False in fitting else len(lengths)
    assert (first == first[0]).sum() == admitted


PROGRAM = """
import numpy as np
from adapter_twin.profile import load_any_profile
from adapter_twin.slora.loop import run_server
from adapter_twin.slora.replica import slora_server
from adapter_twin.workload import Adapter, Requests
profile = load_any_profile("llama-2-7b-slora-h100-64gb")
engine = profile.engine.model_copy(update={"max_total_token_num": 4000})
count = 60
requests = Requests(np.arange(count) / 50, np.full(count, 100), np.full(count, 20), np.arange(count) % 3)
server = slora_server(profile, engine, requests, [Adapter(f"a{i}", 1.0, 8) for i in range(3)], 20.0)
run_server(server)
print(server.requests.finish_s.tolist(), server.state.most_blocks, server.state.gpu_loads)
"""


def printed(**environment):
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout


def test_interpreted_functions_mean_the_same():
    assert printed(NUMBA_DISABLE_JIT="1") == printed()


@pytest.mark.parametrize("step", [1, 7])
def test_longer_requests_are_asked_for_than_generated(step):
    """What a request may generate is reserved: asking for more admits fewer at a time."""
    count = 40
    requests = Requests(np.zeros(count), np.full(count, 10), np.full(count, step + 1), np.full(count, -1))

    def steps(max_new_tokens):
        engine = SloraEngine(
            version="1.0",
            max_total_token_num=200,
            max_req_total_len=100,
            batch_max_tokens=400,
            max_new_tokens=max_new_tokens,
            max_connections=99,
        )
        return served(Case(engine, requests, ())).state[0].steps

    assert steps(50) > steps(0)
