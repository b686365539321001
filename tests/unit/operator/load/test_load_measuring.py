"""The figures are those of the twin's report: its own requests, measured, give its own report."""

import json
from array import array

import pytest

from adapter_operator.load.answers import Record
from adapter_operator.load.comparison import Compared, compared, outside
from adapter_operator.load.measuring import measure
from adapter_operator.load.sending import Run
from adapter_operator.load.traffic import Phase, Traffic
from adapter_twin.live import LiveReplica
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload import Adapter, Lognormal, Requests, Workload, generate

DURATION_S = 120.0
PROFILE = "llama-3.1-8b-instruct-h100-64gb"


def overloaded():
    """More than one slot's worth of adapters, so that some starve and some requests never end."""
    adapters = tuple(Adapter(f"adapter-{i}", 0.4, 8) for i in range(24))
    workload = Workload(adapters, Lognormal(200, 1.0, 1, 2000), Lognormal(150, 0.7, 1, 1000), DURATION_S)
    requests = generate(workload, 0)
    return Traffic(adapters, requests, DURATION_S, (Phase("", 0.0, DURATION_S),))


def answered(traffic, replica, speed_up):
    """What a client would have seen of the twin's requests."""
    records = []
    requests = traffic.requests
    for i in range(requests.count):
        first_s, last_s = float(replica.first_token_s[i]), float(replica.finish_s[i])
        tokens = int(requests.output_tokens[i])
        record = Record(i, float(requests.arrival_s[i]) / speed_up, status=200)
        record.sent_s = record.due_s
        if 0 < last_s <= traffic.duration_s:
            record.first_s, record.last_s, record.finish_s = (t / speed_up for t in (first_s, last_s, last_s))
            record.gaps, record.output_tokens, record.completed = tokens - 1, tokens, True
        records.append(record)
    gaps = [(r.last_s - r.first_s) / r.gaps for r in records if r.gaps for _ in range(r.gaps)]
    return Run(records, array("f", gaps), real_s=traffic.duration_s / speed_up)


@pytest.fixture(scope="module")
def twin():
    traffic = overloaded()
    config = ReplicaConfig(max_loras=2, max_lora_rank=8)
    replica = LiveReplica(load_profile(PROFILE), config, duration_s=DURATION_S)
    for adapter in traffic.adapters:
        replica.add_adapter(adapter)
    replica.submit_many(traffic.requests)
    replica.advance(DURATION_S)
    return traffic, replica, replica.report()


@pytest.mark.parametrize("speed_up", [1.0, 8.0])
def test_the_twins_requests_give_the_twins_report(twin, speed_up):
    traffic, replica, report = twin
    figures = measure(answered(traffic, replica, speed_up), traffic, speed_up=speed_up, late_after_s=0.05)
    total = figures.total
    assert 0 < report.completed_requests < report.offered_requests
    for name in ("offered_requests", "completed_requests", "offered_tokens", "input_tokens", "output_tokens"):
        assert getattr(total, name) == getattr(report, name)
    assert total.throughput_tokens_per_s == pytest.approx(report.throughput_tokens_per_s)
    assert total.served_fraction == pytest.approx(report.served_fraction, abs=0.01)
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        mine, theirs = getattr(total, name), getattr(report, name)
        assert (mine.mean, mine.p50, mine.p99) == pytest.approx((theirs.mean, theirs.p50, theirs.p99))
    own, theirs = figures.per_adapter, report.per_adapter
    for name in ("offered_requests", "completed_requests", "offered_tokens", "completed_tokens"):
        assert getattr(own, name).tolist() == getattr(theirs, name).tolist()
    assert own.ttft_mean_s == pytest.approx(theirs.ttft_mean_s, nan_ok=True)
    assert own.itl_mean_s == pytest.approx(theirs.itl_mean_s, nan_ok=True)


def test_predicted_beside_measured(twin):
    traffic, replica, report = twin
    figures = compared(
        report, measure(answered(traffic, replica, 1.0), traffic, speed_up=1.0, late_after_s=1.0)
    )
    errors = {figure.name: figure.error_percent for figure in figures}
    assert errors["throughput"] == pytest.approx(0.0, abs=1e-6)
    assert errors["time per output token"] == pytest.approx(0.0, abs=1e-6)


def test_tolerance_judges_throughput_and_inter_token_latency():
    figures = (
        Compared("throughput", "tokens/s", 104.0, 100.0),
        Compared("time to first token", "s", 9.0, 1.0),
        Compared("inter-token latency", "s", 0.02, 0.025),
    )
    assert outside(figures, 20.5) == ()
    assert [figure.name for figure in outside(figures, 10)] == ["inter-token latency"]
    nothing = Compared("throughput", "tokens/s", 104.0, 0.0)
    assert outside((nothing,), 1000) == (nothing,)


def one(arrival_s=0.0):
    requests = Requests([arrival_s], [10], [5], [0])
    return Traffic((Adapter("a", 1.0, 8),), requests, 10.0, (Phase("", 0.0, 10.0),))


def test_nothing_came_back():
    figures = measure(Run([Record(0, 0.0)], real_s=10.0), one(), speed_up=1.0, late_after_s=0.05)
    assert figures.total.unfinished_requests == 1
    assert figures.total.served_fraction == 0.0
    document = json.loads(json.dumps(figures.to_dict(), allow_nan=False))
    assert document["ttft_s"]["mean"] is None
    assert document["per_adapter"]["ttft_mean_s"] == [None]


def test_requests_that_were_never_sent_are_the_clients_fault():
    figures = measure(Run(real_s=10.0), one(), speed_up=1.0, late_after_s=0.05)
    assert figures.client.unsent_requests == 1
    assert not figures.client.kept_up


def test_an_output_of_another_length_is_counted_as_it_was():
    record = Record(0, 0.0, status=200, sent_s=0.0, first_s=1.0, last_s=2.0, gaps=2)
    record.completed, record.prompt_tokens, record.output_tokens = True, 11, 3
    figures = measure(
        Run([record], array("f", [0.5, 0.5]), real_s=10.0), one(), speed_up=1.0, late_after_s=0.05
    )
    assert (figures.total.input_tokens, figures.total.output_tokens, figures.other_lengths) == (11, 3, 1)
    assert figures.total.throughput_tokens_per_s == pytest.approx(1.4)


def test_keys_are_those_of_a_simulated_report(twin):
    _, _, report = twin
    simulated = report.to_dict()
    document = measure(Run(real_s=10.0), one(), speed_up=1.0, late_after_s=0.05).to_dict()
    common = {
        "duration_s",
        "offered_requests",
        "completed_requests",
        "offered_tokens",
        "input_tokens",
        "output_tokens",
        "throughput_tokens_per_s",
        "served_fraction",
        "ttft_s",
        "itl_s",
        "tpot_s",
        "e2e_s",
    }
    assert common <= document.keys() & simulated.keys()
    assert simulated["per_adapter"].keys() <= document["per_adapter"].keys()
    assert simulated["ttft_s"].keys() == document["ttft_s"].keys()
