"""The gateway with a real Envoy: who reaches which engine, what is refused, what happens as routes change."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapter_operator.gateway.routing import Endpoint, Limits, VirtualHost, routing_table
from adapter_operator.gateway.settings import TlsSettings
from gateway_under_test import Engine, Gateway, engine, gateway

if TYPE_CHECKING:
    from pathlib import Path

    from adapter_operator.gateway.routing import RoutingTable

DEAD = Endpoint("127.0.0.1", 1)


def table(base: Engine, adapters: dict[str, tuple[Endpoint, ...]] | None = None, **fields) -> RoutingTable:
    return routing_table([VirtualHost("ns/a", ("*",), "base", (base.endpoint,), adapters or {}, **fields)])


def test_the_model_in_the_body_chooses_the_engine(tmp_path: Path):
    async def scenario():
        async with (
            engine("one") as one,
            engine("two") as two,
            gateway(table(one, {"x.y/z": (two.endpoint,)}), tmp_path) as envoy,
        ):
            assert (await envoy.post({"model": "x.y/z"})).json["engine"] == "two"
            for body in ({"model": "base"}, {}, {"model": None}, {"model": ""}):
                assert (await envoy.post(body)).json["engine"] == "one"
            for path in ("/v1/chat/completions", "/tokenize"):
                assert (await envoy.post({"model": "x.y/z"}, path=path)).json["engine"] == "two"
            assert two.requests[-1]["path"] == "/tokenize"

    asyncio.run(scenario())


def test_api_keys_pass_and_our_own_headers_do_not(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, gateway(table(one), tmp_path) as envoy:
            await envoy.post({"model": "base"}, Authorization="Bearer secret", x_adaptwin_host="ns/b")
            headers = {name.lower(): value for name, value in one.requests[-1]["headers"].items()}
            assert headers["authorization"] == "Bearer secret"
            assert not [name for name in headers if name.startswith("x-adaptwin")]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "raw", "headers", "status"),
    [
        ({"model": "xds"}, None, {}, 404),
        ({"model": "admin"}, None, {}, 404),
        ({"model": "!not-json"}, None, {}, 400),
        ({"model": "nobody"}, None, {"x_adaptwin_model": "ns/a|mine"}, 404),
        ({"model": "nobody"}, None, {"x_adaptwin_model": "xds", "Content_Type": "text/plain"}, 400),
        ({"model": "theirs"}, None, {}, 404),
        ({"model": "ns/b|theirs"}, None, {}, 404),
        ({"model": "|theirs"}, None, {"x_adaptwin_host": "ns/b"}, 404),
        ({"model": "mine\nx-evil: 1"}, None, {}, 404),
        ({"model": 7}, None, {}, 404),
        (None, "{not json", {}, 400),
        (None, b"\xff\xfe", {}, 400),
        (None, '{"model": "mine", "model": "theirs"}', {}, 404),
        ({"model": "mine", "prompt": "x" * (2 << 20)}, None, {}, 413),
    ],
)
def test_no_body_and_no_header_reaches_what_it_should_not(hosts, body, raw, headers, status):
    answer = hosts.post(body, raw=raw, host="a.example", **headers)
    assert answer.status == status
    error = answer.json["error"]
    assert error["code"] == status
    assert set(error) == {"message", "type", "param", "code"}
    assert hosts.engines_asked() == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/sleep",
        "/metrics",
        "/v1/completions/../load_lora_adapter",
        "/v1/completions%2f..%2fload_lora_adapter",
        "//v1//load_lora_adapter",
        "/v1/completions;/../load_lora_adapter",
    ],
)
def test_no_path_but_inference_is_routed(hosts, path):
    assert hosts.post({"model": "mine", "lora_name": "evil"}, path=path, host="a.example").status in {
        400,
        404,
    }
    assert hosts.engines_asked() == []


def test_an_unknown_model_is_named_in_the_error(hosts):
    answer = hosts.post({"model": 'no"body'}, host="a.example")
    assert answer.json["error"] == {
        "message": 'The model `no"body` does not exist.',
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
    assert answer.headers["content-type"] == "application/json"


def test_a_host_that_nobody_claims_is_refused(hosts):
    assert hosts.post({"model": "mine"}, host="c.example").status == 404


def test_the_ports_and_case_of_hosts_do_not_matter(hosts):
    assert hosts.post({"model": "mine"}, host="A.example:8443").status == 200


def test_models_are_listed_for_their_own_host_only(hosts):
    models = hosts.get("/v1/models", host="a.example").json["data"]
    assert [(model["id"], model["parent"]) for model in models] == [("base", None), ("mine", "base")]
    assert hosts.get("/v1/models", host="b.example").status == 404


def test_the_admin_interface_is_not_to_be_had(hosts):
    port = hosts.gateway.settings.observation_port
    assert hosts.get("/ready", port=port).status == 200
    for path in ("/quitquitquit", "/config_dump", "/stats", "/clusters"):
        assert hosts.get(path, port=port).status == 404
    assert hosts.get("/config_dump", host="a.example").status == 404


class Hosts:
    """One Envoy for many small questions: two virtual hosts, one engine each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, running: Gateway, engines: list[Engine]):
        self._loop, self.gateway, self._engines = loop, running, engines

    def post(self, *args, **kwargs):
        for one in self._engines:
            one.requests.clear()
        return self._loop.run_until_complete(self.gateway.post(*args, **kwargs))

    def get(self, *args, **kwargs):
        return self._loop.run_until_complete(self.gateway.get(*args, **kwargs))

    def engines_asked(self) -> list[str]:
        return [one.name for one in self._engines if one.requests]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory):
    loop = asyncio.new_event_loop()

    async def start(stack):
        one, two = [await stack.enter_async_context(engine(name)) for name in ("one", "two")]
        small = Limits(body_bytes=1 << 20)
        mine = VirtualHost(
            "ns/a", ("a.example",), "base", (one.endpoint,), {"mine": (one.endpoint,)}, limits=small
        )
        theirs = VirtualHost(
            "ns/b", ("b.example",), "base", (two.endpoint,), {"theirs": (two.endpoint,)}, lists_models=False
        )
        folder = tmp_path_factory.mktemp("envoy")
        running = await stack.enter_async_context(gateway(routing_table([mine, theirs]), folder))
        return Hosts(loop, running, [one, two])

    from contextlib import AsyncExitStack

    stack = AsyncExitStack()
    yield loop.run_until_complete(start(stack))
    loop.run_until_complete(stack.aclose())
    loop.close()


def test_a_stream_comes_piece_by_piece_and_whole(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, gateway(table(one), tmp_path) as envoy:
            body = {"model": "base", "stream": True, "max_tokens": 5, "pause_s": 0.1}
            loop, arrivals, text = asyncio.get_running_loop(), [], b""
            async with envoy.session.post(envoy.url + "/v1/completions", json=body) as response:
                async for piece in response.content.iter_any():
                    arrivals.append(loop.time())
                    text += piece
            assert arrivals[-1] - arrivals[0] > 0.35
            tokens = [
                json.loads(line[6:]) for line in text.decode().split("\n\n") if line.startswith("data: {")
            ]
            assert [token.get("token") for token in tokens[:-1]] == [0, 1, 2, 3, 4]
            assert text.endswith(b"data: [DONE]\n\n")

    asyncio.run(scenario())


def test_an_adapter_without_a_ready_engine_is_told_so_and_when_to_come_back(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, gateway(table(one, {"cold": ()}), tmp_path) as envoy:
            answer = await envoy.post({"model": "cold"})
            assert answer.status == 503
            assert answer.json["error"]["message"].startswith("No replica of the model `cold` is ready")
            assert answer.headers["retry-after"] == "1"

    asyncio.run(scenario())


def test_an_adapter_over_its_limit_is_refused_and_the_others_are_not(tmp_path: Path):
    async def scenario(one: Engine, envoy: Gateway):
        one.hold = asyncio.Event()
        first = asyncio.create_task(envoy.post({"model": "hot"}))
        await envoy.until(lambda: _answered(one.requests))
        refused = await asyncio.gather(*(envoy.post({"model": "hot"}) for _ in range(9)))
        one.hold.set()
        assert (await first).status == 200
        assert {answer.status for answer in refused} == {503}
        assert "too many requests in flight" in refused[0].json["error"]["message"]
        assert (await envoy.post({"model": "cold"})).status == 200

    async def run():
        async with (
            engine("one") as one,
            gateway(_both_on(one), tmp_path) as envoy,
        ):
            await scenario(one, envoy)

    asyncio.run(run())


def _both_on(one: Engine) -> RoutingTable:
    return table(one, {"hot": (one.endpoint,), "cold": (one.endpoint,)}, limits=Limits(1))


async def _answered(requests: list) -> bool:
    return bool(requests)


def test_an_engine_that_hangs_is_given_up_after_the_idle_time(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, gateway(table(one, limits=Limits(idle_s=0.3)), tmp_path) as envoy:
            one.hold = asyncio.Event()
            answer = await envoy.post({"model": "base"})
            one.hold.set()
            assert answer.status == 504
            assert answer.json["error"]["type"] == "GatewayTimeoutError"

    asyncio.run(scenario())


def test_a_dead_engine_costs_no_request(tmp_path: Path):
    async def scenario():
        async with (
            engine("one") as one,
            gateway(table(one, {"a": (one.endpoint, DEAD)}), tmp_path) as envoy,
        ):
            answers = [await envoy.post({"model": "a"}) for _ in range(60)]
            assert {answer.status for answer in answers} == {200}
            stats = await envoy.get("/stats/prometheus?filter=ejections_active", port=_observation(envoy))
            assert 'ejections_active{envoy_cluster_name="ns=2Fa=7Ca"} 1' in stats.text

    asyncio.run(scenario())


def _observation(envoy: Gateway) -> int:
    return envoy.settings.observation_port


def test_adapters_move_under_load_without_a_failed_request(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, engine("two") as two:
            both = [one.endpoint, two.endpoint]
            names = [f"adapter-{n}" for n in range(20)]
            async with gateway(table(one, dict.fromkeys(names, (both[0],))), tmp_path) as envoy:
                stop = asyncio.Event()
                results: list[int] = []

                async def client(n: int):
                    while not stop.is_set():
                        body = {"model": names[n], "stream": True, "max_tokens": 5, "pause_s": 0.01}
                        answer = await envoy.post(body)
                        results.append(answer.status if "[DONE]" in answer.text else 0)

                clients = [asyncio.create_task(client(n)) for n in range(len(names))]
                for move in range(8):
                    await asyncio.sleep(0.2)
                    envoy.publish(table(one, dict.fromkeys(names, (both[move % 2],)) | {f"new-{move}": ()}))
                stop.set()
                await asyncio.gather(*clients)
                assert set(results) == {200}
                assert len(results) > 100
                assert {"one", "two"} == {x.name for x in (one, two) if x.requests}

    asyncio.run(scenario())


def test_a_stream_outlives_the_end_of_its_adapter(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, gateway(table(one, {"a": (one.endpoint,)}), tmp_path) as envoy:
            body = {"model": "a", "stream": True, "max_tokens": 10, "pause_s": 0.1}
            running = asyncio.create_task(envoy.post(body))
            await envoy.until(lambda: _answered(one.requests))
            envoy.publish(table(one))
            await envoy.until(lambda: _unknown(envoy, "a"))
            assert "[DONE]" in (await running).text

    asyncio.run(scenario())


async def _unknown(envoy: Gateway, model: str) -> bool:
    return (await envoy.post({"model": model})).status == 404


def test_a_change_is_in_force_within_a_second(tmp_path: Path):
    async def scenario():
        async with engine("one") as one:
            names = [f"adapter-{n}" for n in range(500)]
            async with gateway(table(one, dict.fromkeys(names, (one.endpoint,))), tmp_path) as envoy:
                envoy.publish(table(one, dict.fromkeys([*names, "new"], (one.endpoint,))))
                assert await envoy.until_routed("new") < 1.0

    asyncio.run(scenario())


def test_nothing_is_answered_before_the_first_table_and_all_is_after(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, gateway(None, tmp_path) as envoy:
            await asyncio.sleep(1.0)
            assert not await envoy.ready()
            envoy.publish(table(one))
            await envoy.until(envoy.ready)
            assert await envoy.until_routed("base") < 5.0

    asyncio.run(scenario())


def test_tokens_are_counted_by_adapter_streamed_or_not(tmp_path: Path):
    async def scenario():
        async with engine("one") as one, gateway(table(one, {"a": (one.endpoint,)}), tmp_path) as envoy:
            await envoy.post({"model": "a"})
            await envoy.post({"model": "a", "stream": True})

            async def counted() -> bool:
                stats = (await envoy.get("/stats/prometheus?filter=tokens", port=_observation(envoy))).text
                return (
                    'envoy_adaptwin_prompt_tokens{cluster="ns/a|a"} 12' in stats
                    and 'envoy_adaptwin_completion_tokens{cluster="ns/a|a"} 5' in stats
                )

            await envoy.until(counted)

    asyncio.run(scenario())


def test_clients_may_be_served_over_tls(tmp_path: Path):
    tls = _self_signed(tmp_path)

    async def scenario():
        async with engine("one") as one, gateway(table(one), tmp_path, tls=tls) as envoy:
            assert envoy.url.startswith("https://")
            assert (await envoy.post({"model": "base"})).json["engine"] == "one"

    asyncio.run(scenario())


def _self_signed(folder: Path) -> TlsSettings:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "tls.key").write_bytes(private)
    return TlsSettings(certificate=folder / "tls.crt", key=folder / "tls.key")


def test_envoy_goes_on_without_the_gateway_and_takes_news_when_it_is_back(tmp_path: Path):
    from adapter_operator.gateway.discovery.server import DiscoveryServer

    async def scenario():
        async with engine("one") as one, gateway(table(one), tmp_path) as envoy:
            await envoy.server.stop()
            assert (await envoy.post({"model": "base"})).status == 200
            again = DiscoveryServer(envoy.metrics)
            again.publish(table(one, {"new": (one.endpoint,)}))
            await again.start("127.0.0.1", envoy.settings.discovery_port)
            try:
                await envoy.until(lambda: _known(envoy, "new"), 20.0)
            finally:
                await again.stop()

    asyncio.run(scenario())


async def _known(envoy: Gateway, model: str) -> bool:
    return (await envoy.post({"model": model})).status == 200
