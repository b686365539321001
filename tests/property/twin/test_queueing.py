"""The engine agrees with queueing theory where theory has an answer (numbers: docs/invariants.md)."""

import math

import numpy as np
import pytest

from adapter_twin.engine.building import new_engine
from adapter_twin.engine.loop import run_engine
from adapter_twin.engine.policy import SchedulerPolicy
from adapter_twin.engine.state import FINISHED
from adapter_twin.engine.step_time import N_COEFFICIENTS
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, GammaBurst, Poisson, Workload, generate
from adapter_twin.workload.random_streams import stream


def served(arrival_s, output_tokens, duration_s, *, seats=1, step_s=1.0):
    """Steps that take the same whatever they hold: a request is served for as many steps as tokens."""
    n = arrival_s.size
    coefficients = np.zeros(N_COEFFICIENTS)
    coefficients[0] = step_s
    policy = SchedulerPolicy(
        max_num_seqs=seats, max_num_batched_tokens=64, blocks=10_000, max_loras=1, max_cpu_loras=1
    )
    engine = new_engine(
        policy,
        coefficients,
        arrival_s,
        np.ones(n, dtype=np.int32),
        output_tokens,
        np.full(n, -1),
        np.zeros(0),
        np.zeros(0),
        duration_s=duration_s,
    )
    run_engine(engine)
    return engine.requests[engine.requests.phase == FINISHED]


def poisson(rate, duration_s, seed):
    random = stream(seed, "arrivals")
    return np.sort(random.uniform(0, duration_s, random.poisson(rate * duration_s)))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_invariant_14_waits_like_m_d_1(load):
    """One token each: waiting = load / (2 (1 - load)) services (Pollaczek-Khinchine)."""
    duration_s = 200_000.0
    arrival_s = poisson(load, duration_s, seed=1)
    done = served(arrival_s, np.ones(arrival_s.size, dtype=np.int32), duration_s)
    waited_s = done.finish_s - done.arrival_s - 1.0
    assert waited_s.mean() == pytest.approx(load / (2 * (1 - load)), rel=0.06)


@pytest.mark.parametrize("load", [0.4, 0.7])
def test_invariant_14_waits_like_m_g_1(load):
    """Geometric numbers of tokens: waiting = rate E[S²] / (2 (1 - load))."""
    duration_s, mean = 2_000_000.0, 10.0
    rate = load / mean
    arrival_s = poisson(rate, duration_s, seed=2)
    service = stream(3, "service").geometric(1 / mean, arrival_s.size).astype(np.int32)
    done = served(arrival_s, service, duration_s)
    second_moment = (2 - 1 / mean) * mean**2
    waited_s = done.finish_s - done.arrival_s - done.output
    assert waited_s.mean() == pytest.approx(rate * second_moment / (2 * (1 - load)), rel=0.05)


def erlang_wait(seats, load):
    """Mean wait in M/M/k, in services; `load` per seat (Erlang's C formula)."""
    offered = seats * load
    idle = sum(offered**k / math.factorial(k) for k in range(seats))
    busy = offered**seats / math.factorial(seats) / (1 - load)
    return busy / (idle + busy) / (seats * (1 - load))


@pytest.mark.parametrize(("seats", "load"), [(1, 0.6), (2, 0.8), (4, 0.5), (4, 0.85), (16, 0.9)])
def test_invariant_14_waits_like_m_m_k(seats, load):
    """Several seats, geometric numbers of short steps, as good as exponential: Erlang's formula."""
    duration_s, mean, step_s = 300_000.0 / (seats * load), 50.0, 0.02
    arrival_s = poisson(seats * load, duration_s, seed=4)
    service = stream(5, "service").geometric(1 / mean, arrival_s.size).astype(np.int32)
    done = served(arrival_s, service, duration_s, seats=seats, step_s=step_s)
    waited_s = done.finish_s - done.arrival_s - done.output * step_s
    for_a_step_to_end_s = step_s / 2
    assert waited_s.mean() == pytest.approx(erlang_wait(seats, load) + for_a_step_to_end_s, rel=0.06)


@pytest.mark.parametrize("arrivals", [Poisson(), GammaBurst(3.0)], ids=repr)
@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_invariant_13_littles_law(arrivals, rate):
    """Requests in the system = completions per second × time in the system, without a lasting queue."""
    profile = load_profile("llama-3.1-8b-instruct-h100-64gb")
    adapters = [Adapter(f"a{i}", rate, 8) for i in range(32)]
    workload = Workload.for_profile(profile, adapters, 7200.0, arrivals)
    report = simulate_replica(
        profile, ReplicaConfig(32, 8), generate(workload, 1), adapters, duration_s=workload.duration_s
    )
    in_system = report.timeseries.running.mean() + report.timeseries.waiting.mean()
    per_second = report.completed_requests / report.duration_s
    assert in_system == pytest.approx(per_second * report.e2e_s.mean, rel=0.03)
