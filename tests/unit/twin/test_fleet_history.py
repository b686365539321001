"""What a fleet delivered over time, from requests whose fates are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from adapter_twin.fleet import EventKind, Fate, FleetEvent
from adapter_twin.fleet.history import summarize
from adapter_twin.fleet.log import gpu_replicas
from adapter_twin.fleet.traffic import CopiesChange
from adapter_twin.workload import Adapter, Fixed, Requests, Workload

NAN = float("nan")
WORKLOAD = Workload((Adapter("a", 1.0, 8), Adapter("b", 1.0, 8)), Fixed(10), Fixed(11), duration_s=100.0)

# arrival, adapter, fate, first token, last token; every token takes 0.1 s
REQUESTS = [
    (1.0, 0, Fate.COMPLETED, 1.5, 2.5),
    (2.0, 0, Fate.COMPLETED, 20.0, 21.0),  # too late
    (3.0, 1, Fate.UNROUTED, NAN, NAN),
    (51.0, 0, Fate.LOST, 52.0, NAN),
    (52.0, 1, Fate.COMPLETED, 53.0, 54.0),
    (60.0, 1, Fate.WAITING, NAN, NAN),
    (95.0, 0, Fate.RUNNING, 96.0, NAN),  # due after the end
]


@pytest.fixture(scope="module")
def report():
    arrival, adapter, fate, first, last = (np.array(column) for column in zip(*REQUESTS, strict=True))
    count = len(REQUESTS)
    requests = Requests(arrival, np.full(count, 10), np.full(count, 11), adapter)
    world = SimpleNamespace(
        traffic=SimpleNamespace(
            requests=requests,
            owner=np.where(fate == Fate.UNROUTED, -1, 0),
            copies_at_start=np.array([1, 0]),
            copies_changes=[CopiesChange(10.0, 1, 2), CopiesChange(60.0, 0, 0), CopiesChange(75.0, 0, 1)],
        ),
        fates=SimpleNamespace(fate=fate, first_token_s=first, finish_s=last),
        events=[
            FleetEvent(10.0, EventKind.ROLLOUT_STARTED),
            FleetEvent(20.0, EventKind.REPLICA_STARTING, "q-0"),
            FleetEvent(70.0, EventKind.REPLICA_STOPPED, "p-0"),
            FleetEvent(80.0, EventKind.ROLLOUT_COMPLETE),
        ],
        members=[SimpleNamespace(name="p-0", reports=[SimpleNamespace(itl_s=SimpleNamespace(mean=0.1))])],
    )
    return summarize(world, WORKLOAD, initial_replicas=1, bins=2, pace_s=0.1, patience_s=5.0)


def test_requests_count_in_the_bin_of_their_arrival(report):
    own = report.adapters
    assert own.names == ("a", "b")
    assert own.time_s.tolist() == [25.0, 75.0]
    assert own.offered_requests.tolist() == [[2, 1], [2, 2]]
    assert own.offered_tokens.tolist() == [[42, 21], [42, 42]]
    assert own.completed_requests.tolist() == [[2, 0], [0, 1]]


def test_served_is_what_was_in_time_of_what_was_due(report):
    own = report.adapters
    assert own.due_requests.tolist() == [[2, 1], [1, 2]]
    assert own.served_requests.tolist() == [[1, 0], [0, 1]]
    assert own.due_tokens.tolist() == [[42, 21], [21, 42]]
    assert own.served_tokens.tolist() == [[21, 0], [0, 21]]
    assert own.served_fraction.tolist() == [[0.5, 0.0], [0.0, 0.5]]
    assert own.total_served_fraction().tolist() == pytest.approx([1 / 3, 1 / 3])
    assert own.starving(0.5).tolist() == [[False, True], [True, False]]
    assert own.starving_adapter_s(0.5) == 100.0


def test_latencies_count_those_who_still_wait(report):
    own = report.adapters
    assert own.ttft_mean_s.tolist() == [[pytest.approx(9.25), pytest.approx(NAN, nan_ok=True)], [1.0, 20.5]]
    assert own.itl_mean_s[0, 0] == pytest.approx(0.1)
    assert own.slow(ttft_s=5.0).tolist() == [[True, False], [False, True]]
    assert own.slow_adapter_s(ttft_s=5.0) == 100.0
    assert own.slow_adapter_s(itl_s=0.2) == 0.0


def test_copies_over_time(report):
    own = report.adapters
    assert own.unavailable_s.tolist() == [[0.0, 10.0], [15.0, 0.0]]
    assert own.least_copies.tolist() == [[1, 0], [0, 2]]
    assert own.unavailable_adapter_s() == 25.0


def test_the_whole_fleet(report):
    assert report.fates == {
        Fate.UNROUTED: 1,
        Fate.WAITING: 1,
        Fate.RUNNING: 1,
        Fate.COMPLETED: 3,
        Fate.REJECTED: 0,
        Fate.LOST: 1,
    }
    assert report.throughput_tokens_per_s == pytest.approx(3 * 21 / 100)
    assert report.served_fraction == {"a": 0.5, "b": pytest.approx(1 / 3)}
    assert report.replicas_with_gpus.tolist() == [2, 2]
    assert report.completed_at_s == 80.0


def test_a_failed_replica_keeps_its_gpus():
    starting, failed, stopped = (
        EventKind.REPLICA_STARTING,
        EventKind.REPLICA_FAILED,
        EventKind.REPLICA_STOPPED,
    )
    events = (FleetEvent(5, failed, "p"), FleetEvent(6, starting, "p"), FleetEvent(7, starting, "q"))
    assert gpu_replicas(events, 1) == [(0.0, 1), (7, 2)]
    gone = (FleetEvent(5, failed, "p"), FleetEvent(8, stopped, "p"), FleetEvent(9, starting, "p"))
    assert gpu_replicas(gone, 1) == [(0.0, 1), (8, 0), (9, 1)]
