import pytest

from adapter_twin.errors import WorkloadError
from adapter_twin.fleet import FleetReplica, simulate_static
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload import Adapter, Workload, generate

CONFIG = ReplicaConfig(8, 8)


@pytest.fixture(scope="module")
def profile():
    return load_profile("qwen-2.5-7b-instruct-h100-64gb")


@pytest.fixture(scope="module")
def workload(profile):
    return Workload.for_profile(profile, [Adapter(f"a{i}", 0.3, 8) for i in range(8)], 300.0)


def all_of(workload, share=1.0):
    return tuple((adapter.name, share) for adapter in workload.adapters)


def test_a_fleet_of_one_is_the_replica(profile, workload):
    fleet = simulate_static(profile, [FleetReplica("r", CONFIG, all_of(workload))], workload, seed=3)
    alone = simulate_replica(
        profile, CONFIG, generate(workload, 3), workload.adapters, duration_s=workload.duration_s
    )
    assert fleet.replicas["r"].to_dict() == alone.to_dict()
    assert fleet.throughput_tokens_per_s == alone.throughput_tokens_per_s
    assert fleet.served_fraction["a0"] == alone.per_adapter.served_fraction[0]


def test_invariant_12_every_request_goes_to_one_replica(profile, workload):
    replicas = [FleetReplica(name, CONFIG, all_of(workload, 0.5)) for name in ("r-0", "r-1")]
    fleet = simulate_static(profile, replicas, workload, seed=3)
    offered = [report.offered_requests for report in fleet.replicas.values()]
    requests = generate(workload, 3)
    assert sum(offered) == requests.count
    assert fleet.offered_tokens == int(requests.prompt_tokens.sum() + requests.output_tokens.sum())
    assert abs(offered[0] - offered[1]) < 4 * requests.count**0.5
    assert fleet.starving(0.9) == []


def test_threads_change_nothing(profile, workload):
    replicas = [FleetReplica(name, CONFIG, all_of(workload, 0.25)) for name in "abcd"]
    one, many = (simulate_static(profile, replicas, workload, seed=3, threads=n) for n in (1, 4))
    for name in "abcd":
        assert one.replicas[name].to_dict() == many.replicas[name].to_dict()
    assert one.completed_requests == many.completed_requests


def test_unrouted_adapters_starve(profile, workload):
    replica = FleetReplica("r", CONFIG, (("a0", 1.0), ("a1", 0.5)))
    fleet = simulate_static(profile, [replica], workload, seed=3)
    assert fleet.served_fraction["a0"] > 0.9
    assert 0.3 < fleet.served_fraction["a1"] < 0.7
    assert fleet.served_fraction["a7"] == 0
    assert fleet.starving(0.9)[-1] == "a1"
    assert fleet.replicas["r"].per_adapter.names == ("a0", "a1")


@pytest.mark.parametrize(
    ("replicas", "message"),
    [
        ([FleetReplica("r", CONFIG, (("x", 1.0),))], "replica r: adapter x is not in the workload"),
        ([FleetReplica("r", CONFIG, (("a0", 0.0),))], "share 0 of adapter a0 is not in"),
        ([FleetReplica(n, CONFIG, (("a0", 0.6),)) for n in "ab"], "adapter a0: its shares add up to 1.2"),
        ([FleetReplica("r", CONFIG, ())] * 2, "replicas: the name r appears more than once"),
    ],
)
def test_bad_shares_are_named(profile, workload, replicas, message):
    with pytest.raises(WorkloadError, match=message):
        simulate_static(profile, replicas, workload, seed=1)
