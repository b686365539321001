"""A replica driven piece by piece is the one that knew all beforehand (numbers: docs/invariants.md)."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_twin.engine.state import ABORTED, FINISHED, REJECTED
from adapter_twin.errors import EngineConfigError, OutOfMemoryError, WorkloadError
from adapter_twin.live import LiveReplica
from adapter_twin.memory import memory_verdict
from adapter_twin.profile import load_profile
from adapter_twin.profile.model import Scheduling
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, Requests

MODEL_LEN = 512
PROFILE = load_profile("llama-3.1-8b-instruct-h100-64gb")


def few_blocks():
    """The utilization at which the KV cache holds little more than one request of the longest kind."""
    low, high = 0.3, 0.9
    while high - low > 1e-6:
        middle = (low + high) / 2
        verdict = memory_verdict(PROFILE, 2, 8, max_model_len=MODEL_LEN, gpu_memory_utilization=middle)
        low, high = (low, middle) if verdict.kv_cache_tokens > 2 * MODEL_LEN else (middle, high)
    return high


UTILIZATION = few_blocks()


@dataclass
class Day:
    """What happens to a replica."""

    config: ReplicaConfig
    adapters: list[Adapter]
    requests: Requests
    cuts: list[float]
    duration_s: float = 20.0


@st.composite
def days(draw):
    count = draw(st.integers(1, 40))
    adapters = [Adapter(f"a{i}", 1.0, 8) for i in range(draw(st.integers(1, 4)))]
    config = ReplicaConfig(
        2,
        8,
        max_cpu_loras=draw(st.sampled_from([None, 2])),
        max_num_seqs=draw(st.sampled_from([None, 3])),
        max_num_batched_tokens=draw(st.sampled_from([64, 300])),
        max_model_len=MODEL_LEN,
        gpu_memory_utilization=UTILIZATION,
        max_connections=draw(st.sampled_from([None, 12])),
        scrape_interval_s=draw(st.sampled_from([0.0, 2.0])),
        scheduling=draw(
            st.sampled_from(
                [None, Scheduling.of_version("0.32"), Scheduling(async_scheduling=True, scheduling_s=0.004)]
            )
        ),
    )
    gaps = draw(st.lists(st.sampled_from([0.0, 0.01, 0.1, 1.5]), min_size=count, max_size=count))
    tokens = st.lists(st.sampled_from([1, 2, 30, 200, 600]), min_size=count, max_size=count)
    chosen = draw(st.lists(st.integers(-1, len(adapters) - 1), min_size=count, max_size=count))
    requests = Requests(*(np.array(v) for v in (np.cumsum(gaps), draw(tokens), draw(tokens), chosen)))
    times = st.one_of(st.floats(0, 20), st.sampled_from(requests.arrival_s.tolist()))
    cuts = draw(st.lists(times.filter(lambda time: time <= Day.duration_s), max_size=6))
    return Day(config, adapters, requests, sorted(cuts))


def replica(day, **more):
    live = LiveReplica(PROFILE, day.config, duration_s=day.duration_s, **more)
    for adapter in day.adapters:
        live.add_adapter(adapter)
    return live


def between(requests, start_s, end_s):
    return requests.select((requests.arrival_s >= start_s) & (requests.arrival_s < end_s))


def in_pieces(day, live):
    """Submit what arrives in each piece only when the piece begins."""
    last = 0.0
    for cut in [*day.cuts, day.duration_s]:
        live.submit_many(between(day.requests, last, cut))
        live.advance(cut)
        last = max(last, cut)
    return live


@given(days())
@settings(max_examples=150, deadline=None)
def test_invariant_15_in_pieces_as_at_once(day):
    """Report, time series included, to the last bit; whatever room there was at first."""
    live = in_pieces(day, replica(day, capacity=2))
    known = simulate_replica(PROFILE, day.config, day.requests, day.adapters, duration_s=day.duration_s)
    assert live.report().to_dict() == known.to_dict()


@given(days())
@settings(max_examples=100, deadline=None)
def test_invariant_15_step_by_step_as_at_once(day):
    """And every token is streamed once."""
    known = in_pieces(replace(day, cuts=[]), replica(day))
    live = replica(day, streaming=True)
    ids = live.submit_many(between(day.requests, 0.0, day.duration_s))
    tokens = np.zeros(ids.size, dtype=int)
    finished, clock = [], 0.0
    while (step := live.step(day.duration_s)) is not None:
        assert step.start_s <= step.end_s
        assert clock <= step.end_s <= day.duration_s
        clock = step.end_s
        np.add.at(tokens, step.tokens, 1)
        finished.extend(step.finished.tolist())
    live.advance(day.duration_s)
    assert live.report().to_dict() == known.report().to_dict()
    done = live.phase[ids] == FINISHED
    assert sorted(finished) == np.flatnonzero(done).tolist()
    room = MODEL_LEN - day.requests.prompt_tokens[: ids.size]
    asked = np.minimum(day.requests.output_tokens[: ids.size], room)
    assert np.array_equal(tokens[done], asked[done])
    assert np.all(tokens[~done] <= np.maximum(asked[~done], 0))


@given(days(), st.data())
@settings(max_examples=100, deadline=None)
def test_invariant_5_aborted_requests_leave_nothing_behind(day, data):
    live = replica(day, streaming=True)
    ids = live.submit_many(day.requests).tolist()
    for cut in day.cuts:
        live.advance(cut)
        for request in data.draw(st.lists(st.sampled_from(ids), max_size=5)):
            live.abort(request)
    live.advance(1e4)
    gauges = live.gauges()
    assert (gauges.running, gauges.waiting, gauges.kv_usage) == (0, 0, 0.0)
    assert gauges.running_adapters.size == gauges.waiting_adapters.size == 0
    assert set(live.phase[ids].tolist()) <= {FINISHED, REJECTED, ABORTED}
    assert np.array_equal(np.isfinite(live.finish_s[ids]), live.phase[ids] == FINISHED)
    live.submit(live.now_s, 100, 3)
    live.advance(2e4)
    assert live.phase[len(ids)] == FINISHED


@given(days())
@settings(max_examples=60, deadline=None)
def test_released_records_are_used_again(day):
    """Releasing what is over changes nothing for what is not."""
    known, live = replica(day), replica(day, capacity=2)
    outcomes, place, last, submitted = {}, {}, 0.0, 0
    for cut in [*day.cuts, 1e4]:
        part = between(day.requests, last, cut)
        known.submit_many(part)
        for request in live.submit_many(part).tolist():
            place[request] = submitted
            submitted += 1
        known.advance(cut)
        live.advance(cut)
        over = [request for request in place if live.phase[request] >= FINISHED]
        for request in over:
            outcomes[place.pop(request)] = (live.first_token_s[request], live.finish_s[request])
        live.release(over)
        last = max(last, cut)
    found = [outcomes[k] for k in range(submitted)]
    expected = zip(known.first_token_s[:submitted], known.finish_s[:submitted], strict=True)
    assert np.array_equal(found, list(expected), equal_nan=True)
    assert live.report().offered_requests == 0


class TestAdaptersThatComeAndGo:
    @pytest.fixture
    def live(self):
        return LiveReplica(PROFILE, ReplicaConfig(2, 8, scrape_interval_s=0.0), start_s=100.0, streaming=True)

    def test_at_the_start_loading_takes_no_time(self, live):
        index = live.add_adapter(Adapter("a", 1.0, 8))
        assert live.loaded_at_s(index) == 100.0
        live.advance(101.0)
        assert live.gauges().resident_adapters.tolist() == [0, -1]
        assert live.gauges().adapter_loads == 0

    def test_later_the_engine_stands_still(self, live):
        index = live.add_adapter(Adapter("a", 1.0, 8), at_s=150.0)
        stall_s = PROFILE.disk_s(8) + PROFILE.cpu_to_gpu_s(8, 8)
        assert live.loaded_at_s(index) == pytest.approx(150.0 + stall_s)
        assert live.gauges().resident_adapters.tolist() == [0, -1]
        live.submit(150.0, 10, 1)
        assert live.step().start_s >= 150.0 + stall_s
        assert live.gauges().adapter_loads == live.gauges().adapter_disk_loads == 1

    def test_a_step_under_way_ends_first_and_the_next_waits(self, live):
        live.submit(100.0, 2000, 500)
        first = live.step()
        live.advance(first.end_s + 0.001)
        index = live.add_adapter(Adapter("a", 1.0, 8), at_s=first.end_s + 0.001)
        second, third = live.step(), live.step()
        stall_s = PROFILE.disk_s(8) + PROFILE.cpu_to_gpu_s(8, 8)
        assert live.loaded_at_s(index) == pytest.approx(second.end_s + stall_s)
        assert third.end_s - third.start_s == pytest.approx(second.end_s - second.start_s + stall_s, rel=1e-3)

    def test_the_adapter_unused_longest_makes_room(self, live):
        numbers = [live.add_adapter(Adapter(f"a{i}", 1.0, 8), at_s=100.0 + i) for i in range(100)]
        assert numbers == list(range(100))
        assert sorted(live.gauges().resident_adapters.tolist()) == [98, 99]
        live.submit(300.0, 10, 5, adapter=3)
        live.advance(400.0)
        assert 3 in live.gauges().resident_adapters

    def test_even_one_in_use(self, live):
        for i in range(2):
            live.add_adapter(Adapter(f"a{i}", 1.0, 8))
            live.submit(100.0, 10, 50, adapter=i)
        live.advance(100.2)
        live.add_adapter(Adapter("late", 1.0, 8), at_s=100.2)
        assert 2 in live.gauges().resident_adapters
        live.advance(200.0)
        assert live.phase[:2].tolist() == [FINISHED, FINISHED]
        assert live.gauges().adapter_loads >= 2

    def test_a_removed_adapter_finishes_what_it_has(self, live):
        index = live.add_adapter(Adapter("a", 1.0, 8))
        request = live.submit(100.0, 10, 50, adapter=index)
        live.advance(100.1)
        live.remove_adapter(index)
        with pytest.raises(WorkloadError, match="adapter: a was removed"):
            live.submit(100.2, 10, 1, adapter=index)
        live.advance(200.0)
        assert live.phase[request] == FINISHED


class TestWhatIsRefused:
    @pytest.fixture
    def live(self):
        return LiveReplica(PROFILE, ReplicaConfig(2, 8))

    def test_the_past(self, live):
        live.advance(10.0)
        with pytest.raises(WorkloadError, match="9 s has passed, it is 10 s already"):
            live.submit(9.0, 1, 1)

    def test_adapters_that_are_not_there(self, live):
        with pytest.raises(WorkloadError, match="adapter: 0 is not among the 0 loaded"):
            live.submit(0.0, 1, 1, adapter=0)
        with pytest.raises(EngineConfigError, match="below rank 16 of adapter big"):
            live.add_adapter(Adapter("big", 1.0, 16))

    def test_slots_that_do_not_fit(self):
        with pytest.raises(OutOfMemoryError, match="384 slots of rank 32 leave") as refused:
            LiveReplica(PROFILE, ReplicaConfig(384, 32))
        assert not refused.value.verdict.fits

    def test_steps_of_a_replica_that_does_not_stream(self, live):
        with pytest.raises(ValueError, match="streaming=True"):
            live.step()

    def test_releasing_what_is_not_over(self, live):
        with pytest.raises(ValueError, match="not over"):
            live.release([live.submit(0.0, 10, 10)])

    def test_what_is_too_long_is_rejected(self):
        live = LiveReplica(PROFILE, ReplicaConfig(2, 8, max_model_len=100))
        assert live.phase[live.submit(0.0, 100, 1)] == REJECTED
        assert live.report().rejected_requests == 1


def test_later_arrivals_may_be_submitted_first():
    live = LiveReplica(PROFILE, ReplicaConfig(2, 8, max_num_seqs=1, scrape_interval_s=0.0))
    late, early = live.submit(1.0, 10, 5), live.submit(0.5, 10, 5)
    withdrawn = live.submit(0.7, 10, 5)
    live.abort(withdrawn)
    live.advance(10.0)
    assert live.first_token_s[early] < live.first_token_s[late]
    assert live.phase[[late, early, withdrawn]].tolist() == [FINISHED, FINISHED, ABORTED]
