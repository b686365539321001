"""The routing table: static routing as long as it does not change, and what it does without some copies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_twin.fleet.routing import RoutingTable
from adapter_twin.fleet.traffic import Traffic
from adapter_twin.profile import load_profile
from adapter_twin.workload import Adapter, Workload, generate, route


@pytest.fixture(scope="module")
def workload():
    profile = load_profile("qwen-2.5-7b-instruct-h100-64gb")
    return Workload.for_profile(profile, [Adapter(f"a{i}", 0.5, 8) for i in range(5)], 200.0)


SHARES = np.array([[1.0, 0.3, 0.0, 1 / 3, 0.5], [0.0, 0.7, 0.0, 1 / 3, 0.2], [0.0, 0.0, 1.0, 1 / 3, 0.1]])


@pytest.mark.parametrize("segments", [1, 7])
def test_a_table_that_never_changes_routes_as_static_fleets_do(workload, segments):
    requests = generate(workload, 3)
    traffic = Traffic(workload, requests, RoutingTable(SHARES), 3)
    for moment in np.linspace(0, workload.duration_s, segments + 1):
        traffic.settle(moment)
    assert (traffic.owner == route(workload, requests, SHARES, 3)).all()
    assert traffic.placed == requests.count


def test_the_traffic_of_an_absent_copy_goes_to_the_others_in_proportion():
    table = RoutingTable(SHARES)
    table.set_available(0, 4, available=False)
    draws = np.linspace(0, 1, 3001)[:-1]
    owner = table.place(np.full(draws.size, 4, dtype=np.int32), draws)
    counts = {int(o): np.mean(owner == o) for o in np.unique(owner)}
    assert counts == pytest.approx({1: 0.8 * 2 / 3, 2: 0.8 / 3, -1: 0.2}, abs=1e-3)
    assert table.routed_copies(4) == 2
    table.set_available(0, 0, available=False)
    assert (table.place(np.zeros(draws.size, dtype=np.int32), draws) == -1).all()
    table.set_available(0, 0, available=True)
    assert (table.place(np.zeros(draws.size, dtype=np.int32), draws) == 0).all()


@given(
    shares=st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda values: sum(values) > 0.01),
    absent=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_requests_go_to_available_holders_only(shares, absent):
    own = np.array(shares) / sum(shares)
    table = RoutingTable(own[:, None])
    for replica, gone in enumerate(absent):
        if gone:
            table.set_available(replica, 0, available=False)
    draws = np.linspace(0, 1, 101)[:-1]
    owner = table.place(np.zeros(draws.size, dtype=np.int32), draws)
    left = [replica for replica in range(3) if not absent[replica] and own[replica] > 0]
    assert set(owner.tolist()) <= (set(left) or {-1})


def test_requests_are_placed_by_the_table_of_their_arrival(workload):
    requests = generate(workload, 3)
    traffic = Traffic(workload, requests, RoutingTable(SHARES), 3)
    traffic.assign(50.0, 0, np.array([0.0, 1.0, 0.0]))
    traffic.set_available(120.0, 1, 0, available=True)
    traffic.settle(200.0)
    own = requests.adapter == 0
    when = requests.arrival_s[own]
    expected = np.where(when < 50, 0, np.where(when < 120, -1, 1))
    assert (traffic.owner[own] == expected).all()
    assert [(change.at_s, change.copies) for change in traffic.copies_changes] == [(50.0, 0), (120.0, 1)]
    mine, after = traffic.arrived(1, 0)
    assert (traffic.owner[mine] == 1).all()
    assert traffic.arrived(1, after)[0].size == 0
