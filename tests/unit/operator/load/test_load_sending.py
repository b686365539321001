"""Against a server whose timing is known: what is measured is what it did."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import time

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from adapter_operator.load.errors import LoadError
from adapter_operator.load.measuring import measure
from adapter_operator.load.payload import PayloadRules, Payloads
from adapter_operator.load.preflight import served_models
from adapter_operator.load.sending import Sender, SendingRules
from adapter_operator.load.target import Endpoint, Target
from adapter_operator.load.traffic import Phase, Traffic
from adapter_twin.workload import Adapter, Requests

ENOUGH_S = 0.02
"""What a busy machine may add to a latency."""


def traffic_of(
    arrival_s, *, duration_s=1.0, prompt=10, output=5, adapter=None, names=("a", "b"), phases=None
):
    count = len(arrival_s)
    owner = np.zeros(count) if adapter is None else adapter
    requests = Requests(arrival_s, np.full(count, prompt), np.full(count, output), owner)
    adapters = tuple(Adapter(name, 1.0, 8) for name in names)
    return Traffic(adapters, requests, duration_s, phases or (Phase("", 0.0, duration_s),))


async def send(url, traffic, *, drain_s=0.0, endpoint=Endpoint.COMPLETIONS, api_key="", **rules):
    payload = PayloadRules(endpoint=endpoint, base_model="base")
    sending = SendingRules(endpoint, **rules)
    sender = Sender(Target.at(url, api_key), traffic, Payloads(traffic, payload, 0), sending)
    return await sender.send(drain_s)


def measured(run, traffic, **options):
    return measure(run, traffic, **{"speed_up": 1.0, "late_after_s": 0.1} | options)


def sent(serve, streaming, traffic, **rules):
    async def sending():
        async with serve(streaming) as url:
            return await send(url, traffic, **rules)

    return asyncio.run(sending())


def test_latencies_are_those_of_the_server(serve, streaming):
    streaming.first_s, streaming.gap_s = 0.1, 0.02
    traffic = traffic_of(np.arange(20) * 0.03, duration_s=1.2)
    figures = measured(sent(serve, streaming, traffic), traffic)
    total = figures.total
    assert (total.offered_requests, total.completed_requests, total.failed_requests) == (20, 20, 0)
    assert total.ttft_s.p50 == pytest.approx(0.1, abs=ENOUGH_S)
    assert total.itl_s.mean == pytest.approx(0.02, abs=0.003)
    assert total.tpot_s.mean == pytest.approx(0.02, abs=0.003)
    assert total.e2e_s.p50 == pytest.approx(0.18, abs=ENOUGH_S)
    assert total.throughput_tokens_per_s == pytest.approx(20 * 15 / 1.2)
    assert (total.input_tokens, total.output_tokens) == (200, 100)
    assert total.served_fraction == 1.0
    assert figures.client.kept_up


def test_requests_say_what_they_should(serve, streaming):
    traffic = traffic_of([0.0, 0.01, 0.02], duration_s=0.4, prompt=7, output=3, adapter=[0, 1, -1])
    sent(serve, streaming, traffic, api_key="sesame")
    bodies = {body["model"]: body for body in streaming.bodies}
    assert set(bodies) == {"a", "b", "base"}
    for body in bodies.values():
        assert len(body["prompt"]) == 7
        assert all(1000 <= token <= 9999 for token in body["prompt"])
        assert body["max_tokens"] == 3
        assert body["ignore_eos"]
        assert body["stream_options"] == {"include_usage": True}
    assert bodies["a"]["prompt"] != bodies["b"]["prompt"]
    assert {headers["Authorization"] for headers in streaming.headers} == {"Bearer sesame"}


def test_chat(serve, streaming):
    traffic = traffic_of([0.0, 0.05], duration_s=0.5)
    figures = measured(sent(serve, streaming, traffic, endpoint=Endpoint.CHAT), traffic)
    assert figures.total.completed_requests == 2
    assert figures.total.ttft_s.p50 == pytest.approx(0.05, abs=ENOUGH_S)
    assert figures.total.input_tokens == 20
    assert len(streaming.bodies[0]["messages"][0]["content"].split()) == 10


def test_the_loop_is_open(serve, streaming):
    """A server that answers slowly does not slow the sending."""
    streaming.first_s = 0.5
    arrivals = np.arange(40) * 0.01
    traffic = traffic_of(arrivals, duration_s=1.2)
    run = sent(serve, streaming, traffic)
    gaps = np.array(sorted(streaming.arrivals)) - min(streaming.arrivals)
    assert np.abs(gaps - arrivals).max() < 0.1
    assert measured(run, traffic).total.completed_requests == 40


def test_what_is_under_way_at_the_end_is_neither_completed_nor_failed(serve, streaming):
    streaming.first_s = 0.3
    traffic = traffic_of([0.0, 0.3], duration_s=0.45)
    figures = measured(sent(serve, streaming, traffic), traffic)
    total = figures.total
    assert (total.completed_requests, total.failed_requests, total.unfinished_requests) == (1, 0, 1)
    assert figures.per_adapter.offered_requests.tolist() == [2, 0]


def test_draining_waits_but_counts_nothing_that_came_after_the_end(serve, streaming):
    streaming.first_s = 0.3
    traffic = traffic_of([0.0, 0.3], duration_s=0.45)
    figures = measured(sent(serve, streaming, traffic, drain_s=5.0), traffic)
    assert (figures.total.completed_requests, figures.completed_late_requests) == (1, 1)


def test_failures_are_counted_and_not_retried(serve, streaming):
    streaming.refuse = {
        "a": (503, {"retry-after": "1"}, '{"error":{"message":"too many","type":"Overloaded"}}'),
    }
    streaming.break_after = {"b": 2}
    traffic = traffic_of([0.0, 0.02, 0.04, 0.06], duration_s=0.5, adapter=[0, 0, 1, -1])
    figures = measured(sent(serve, streaming, traffic), traffic)
    assert len(streaming.bodies) == 4
    assert figures.failures == {"HTTP 503 Overloaded": 2, "connection lost": 1}
    assert figures.messages == {"HTTP 503 Overloaded": "too many"}
    assert figures.total.completed_requests == 1
    assert figures.failed_by_adapter.tolist() == [2, 1]
    assert figures.per_adapter.served_fraction.tolist() == [0.0, 0.0]
    assert figures.total.served_fraction == pytest.approx(0.25)


def test_a_server_that_is_not_there(unused_port):
    traffic = traffic_of([0.0], duration_s=0.1)
    figures = measured(asyncio.run(send(f"http://127.0.0.1:{unused_port}", traffic)), traffic)
    assert figures.failures == {"cannot connect: connection refused": 1}


def test_a_request_is_given_up_after_its_time(serve, streaming):
    streaming.first_s = 5.0
    traffic = traffic_of([0.0], duration_s=0.4)
    figures = measured(sent(serve, streaming, traffic, timeout_s=0.1), traffic)
    assert figures.failures == {"timed out": 1}


def test_figures_are_in_the_served_systems_time(serve, streaming):
    streaming.first_s, streaming.gap_s = 0.1, 0.02
    traffic = traffic_of(np.arange(10) * 0.5, duration_s=10.0)
    start = time.monotonic()
    figures = measured(sent(serve, streaming, traffic, speed_up=10.0), traffic, speed_up=10.0)
    assert time.monotonic() - start < 5.0
    assert figures.total.ttft_s.p50 == pytest.approx(1.0, abs=10 * ENOUGH_S)
    assert figures.total.itl_s.mean == pytest.approx(0.2, abs=0.03)
    assert figures.total.throughput_tokens_per_s == pytest.approx(15.0)


def test_a_closed_loop_is_reported(serve, streaming):
    streaming.first_s = 0.2
    traffic = traffic_of(np.arange(20) * 0.01, duration_s=1.0)
    figures = measured(sent(serve, streaming, traffic, max_inflight=2), traffic)
    assert figures.client.held_back_requests > 0
    assert figures.client.late_requests > 0
    assert not figures.client.kept_up
    assert figures.total.ttft_s.p99 > 0.3  # from when it was due, not from when it was sent


def test_sending_ends_though_requests_are_held_back(serve, streaming):
    """Also if the server never answers, and as many requests as allowed are under way."""
    streaming.first_s = 60.0
    traffic = traffic_of(np.arange(10) * 0.02, duration_s=0.5)
    start = time.monotonic()
    figures = measured(sent(serve, streaming, traffic, max_inflight=2), traffic)
    assert time.monotonic() - start < 10
    assert (figures.total.offered_requests, figures.total.unfinished_requests) == (10, 10)
    assert (figures.client.sent_requests, figures.client.unsent_requests) == (2, 8)
    assert not figures.client.kept_up


def test_phases_are_told_apart(serve, streaming):
    phases = (Phase("calm", 0.0, 0.5), Phase("surge", 0.5, 1.0))
    traffic = traffic_of([0.1, 0.55, 0.6, 0.7], duration_s=1.0, phases=phases, adapter=[0, 1, 1, 1])
    figures = measured(sent(serve, streaming, traffic), traffic)
    assert [(phase.name, phase.offered_requests) for phase in figures.phases] == [("calm", 1), ("surge", 3)]
    assert [phase.throughput_tokens_per_s for phase in figures.phases] == pytest.approx([30.0, 90.0])


def test_connections_are_used_again(serve, streaming):
    streaming.first_s = 0.01
    traffic = traffic_of(np.arange(10) * 0.12, duration_s=1.4, output=2)

    async def sending():
        async with serve(streaming) as url:
            payloads = Payloads(traffic, PayloadRules(), 0)
            sender = Sender(Target.at(url), traffic, payloads, SendingRules(Endpoint.COMPLETIONS))
            watching = asyncio.create_task(most_connections(sender))
            run = await sender.send()
            watching.cancel()
            return run, sender

    async def most_connections(sender):
        while True:
            sender.most = max(getattr(sender, "most", 0), len(sender._pool.opened))
            await asyncio.sleep(0.01)

    run, sender = asyncio.run(sending())
    assert run.completed == 10
    assert sender.most < 5


def test_stopping_early_keeps_what_was_measured(serve, streaming):
    traffic = traffic_of(np.arange(100) * 0.05, duration_s=5.0)

    async def sending():
        async with serve(streaming) as url:
            payloads = Payloads(traffic, PayloadRules(), 0)
            sender = Sender(Target.at(url), traffic, payloads, SendingRules(Endpoint.COMPLETIONS))
            asyncio.get_running_loop().call_later(0.6, sender.stop)
            return await sender.send()

    run = asyncio.run(sending())
    assert run.interrupted
    assert run.real_s == pytest.approx(0.6, abs=0.2)
    figures = measured(run, traffic.until(run.real_s))
    assert 5 <= figures.total.completed_requests <= figures.total.offered_requests <= 14
    assert figures.total.failed_requests == 0


def test_the_models_of_the_server(serve, streaming):
    async def asking(url):
        return await served_models(Target.at(url))

    async def against_server():
        async with serve(streaming) as url:
            return await asking(url + "/v1")

    streaming.models = ("base", "a")
    assert asyncio.run(against_server()) == {"base", "a"}


def test_no_server_is_said_in_one_sentence(unused_port):
    url = f"http://127.0.0.1:{unused_port}"
    with pytest.raises(LoadError, match=rf"^--url: {url}, cannot connect: connection refused$"):
        asyncio.run(served_models(Target.at(url)))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:y", "http://x:99999"])
def test_urls_that_are_none(url):
    with pytest.raises(LoadError, match="is not a URL such as"):
        Target.at(url)


@pytest.fixture
def certificate(tmp_path):
    """Of 127.0.0.1, signed by itself: the files of the certificate and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "server.pem").write_bytes(signed.public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    return tmp_path / "server.pem", tmp_path / "key.pem"


def test_over_tls_with_a_certificate_that_is_trusted(serve, streaming, certificate, monkeypatch):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    traffic = traffic_of([0.0, 0.05], duration_s=1.0)

    async def sending():
        async with serve(streaming, server) as url:
            return await send(url, traffic)

    untrusted = measured(asyncio.run(sending()), traffic)
    assert untrusted.failures == {"cannot connect: TLS, certificate verify failed": 2}
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert measured(asyncio.run(sending()), traffic).total.completed_requests == 2


def test_urls_with_a_path():
    target = Target.at("https://models.example/team/v1/")
    assert (target.host, target.port, target.tls, target.prefix) == ("models.example", 443, True, "/team")
    assert target.head(Endpoint.CHAT).startswith(
        b"POST /team/v1/chat/completions HTTP/1.1\r\nHost: models.example\r\n"
    )
