"""The emulator answers recorded sessions as vLLM 0.32.0 did: statuses, headers, errors, shapes, metrics.

What is compared: statuses; header names in their order, and their values; error bodies word by word; of other
bodies and of events the keys in their order, the kinds of values, and every value that does not depend on the
model, its tokenizer or chance; the number and order of events; names, types, labels and buckets of metrics.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Self

import pytest

from adapter_twin.emulator.flags import parse_flags
from adapter_twin.emulator.server import Emulator
from http_session import Answer, Recorded, Session, ask, read_session

SPEED_UP = 20
ARGUMENTS = [
    "--profile", "llama-3.1-8b-instruct-h100-64gb", "--startup-delay", "0", "--speed-up", str(SPEED_UP),
    "--port", "0",
]  # fmt: skip

MADE_UP = "texts are made up: other words, so stop strings and token ids occur elsewhere, or not at all"
TOKENIZER = "a string counts one token per four bytes, whatever the model"
DIFFERENCES = {
    "cmpl_stop": MADE_UP,
    "cmpl_stop_token_ids": MADE_UP,
    "cmpl_stop_string": MADE_UP,
    "cmpl_stop_string_included": MADE_UP,
    "cmpl_stream_stop": MADE_UP,
    "cmpl_stream_stop_string": MADE_UP,
    "chat_stop": MADE_UP,
    "chat_stream_stop": MADE_UP,
    "chat_no_max_tokens": TOKENIZER,
}
"""Answers whose ends differ on purpose: status, headers and shape are compared, reason and counts are not."""

NOT_COMPARED = {"cmpl_prompt_token_out_of_vocab": "the emulated model has a larger vocabulary"}

AFTER_SIGTERM = {"stream_during_sigterm", "nonstream_during_sigterm"}
VOLATILE = {"created", "text", "content", "system_fingerprint", "token_logprobs", "tokens", "top_logprobs"}
VOLATILE |= {"text_offset", "prompt_token_ids"}
COUNTED = {"usage", "prompt_tokens", "total_tokens", "completion_tokens"}
SHOWN_EVENTS = 60
"""Of longer streams only the beginning and the end were recorded."""
RANDOM_ID = re.compile(r"(?<=-)(<ID>|[0-9a-f]{16})$")


@pytest.fixture
def adapters(tmp_path) -> Path:
    """The folders that the recorded server had under /adapters."""
    for number in range(10):
        _write_adapter(tmp_path / f"ad{number}", 8)
    for rank in (16, 32):
        _write_adapter(tmp_path / f"r{rank}", rank)
    _write_adapter(tmp_path / "noconfig", 8).joinpath("adapter_config.json").unlink()
    _write_adapter(tmp_path / "noweights", 8).joinpath("adapter_model.safetensors").unlink()
    return tmp_path


def _write_adapter(folder: Path, rank: int) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": 16}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


class Played:
    """A recorded session and an emulator that was started as its server was."""

    def __init__(self, name: str, adapters: Path) -> None:
        self.session: Session = read_session(name)
        self.adapters = adapters
        command = [part.replace("/adapters/", f"{adapters}/") for part in self.session.command]
        settings, self.ignored = parse_flags([*command, *ARGUMENTS], self.session.environment)
        self.emulator = Emulator(settings)
        self.done: set[str] = set()

    async def __aenter__(self) -> Self:
        await self.emulator.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.emulator.stop()

    async def ask(self, recorded: Recorded) -> Answer:
        return await ask(self.emulator.port, recorded, self.adapters)

    async def play(self, recorded: Recorded) -> list[str]:
        """Send one request; what differs."""
        self.done.add(recorded.name)
        if recorded.name in NOT_COMPARED:
            return []
        try:
            answer = await self.ask(recorded)
        except ConnectionError as error:
            refused = recorded.response.get("connection_error", "")
            return [] if type(error).__name__ in refused else [f"{recorded.name}: {error!r}"]
        return self.compare(recorded, answer)

    async def play_all(self, names: list[str]) -> list[str]:
        return [problem for name in names for problem in await self.play(self.session.of(name))]

    def compare(self, recorded: Recorded, answer: Answer) -> list[str]:
        expected = recorded.response
        problems = list(_difference("status", expected["status"], answer.status))
        problems += _differing_headers(expected["headers"], answer.headers)
        if "events" in expected:
            problems += self._differing_events(recorded, answer)
        elif recorded.request["path"] == "/metrics":
            problems += _differing_metrics(expected["body"], answer.body)
        else:
            problems += self._differing_body(recorded, answer)
        return [f"{recorded.name}: {problem}" for problem in problems]

    def _differing_body(self, recorded: Recorded, answer: Answer) -> list[str]:
        expected = recorded.response["body"]
        text = answer.body.replace(f"{self.adapters}/", "/adapters/")
        if isinstance(expected, str):
            return list(_difference("body", expected, text))
        got = json.loads(text)
        if answer.status >= 400:
            shown = json.dumps(got)
            if "<path>" in json.dumps(expected):
                shown = re.sub(r"/adapters/[\w./-]+", "<path>", shown)
            return list(_difference("error", expected, json.loads(shown)))
        return list(_differing("body", expected, got, loose=self._loose(recorded)))

    def _differing_events(self, recorded: Recorded, answer: Answer) -> list[str]:
        expected, got = recorded.response["events"], answer.events
        loose = self._loose(recorded)
        total = recorded.response["events_total"]
        problems = [] if "usage" in loose else list(_difference("events", total, len(got)))
        if total > SHOWN_EVENTS:
            expected, got = [*expected[:8], *expected[-8:]], [*got[:8], *got[-8:]]
        if "usage" in loose:
            ends = 3
            expected, got = [expected[0], *expected[-ends:]], [got[0], *got[-ends:]]
        for place, (one, other) in enumerate(zip(expected, got, strict=False)):
            problems += _differing_event(f"event {place}", one, other, loose)
        return problems

    def _loose(self, recorded: Recorded) -> set[str]:
        """Keys whose values are not compared."""
        if recorded.name in DIFFERENCES:
            return VOLATILE | COUNTED | {"finish_reason", "stop_reason"}
        body = recorded.request.get("body") or {}
        prompt = body.get("prompt") if isinstance(body, dict) else None
        tokens = isinstance(prompt, list) and isinstance(prompt[0], int)
        return (
            VOLATILE
            if tokens or isinstance(body, str)
            else VOLATILE | (COUNTED - {"usage", "completion_tokens"})
        )


def _difference(what: str, expected: Any, got: Any) -> list[str]:
    return [] if expected == got else [f"{what} is {got!r} instead of {expected!r}"]


def _differing_headers(expected: list[list[str]], got: list[list[str]]) -> list[str]:
    def stable(headers: list[list[str]]) -> list[tuple[str, str]]:
        changing = {"date": "", "content-length": ""}
        return [
            (name, re.sub(r"127\.0\.0\.1:\d+", "host", changing.get(name, value))) for name, value in headers
        ]

    return _difference("headers", stable(expected), stable(got))


def _differing_event(where: str, expected: str, got: str, loose: set[str]) -> list[str]:
    expected, got = expected.removeprefix("data: "), got.removeprefix("data: ")
    if not expected.startswith("{"):
        return _difference(where, expected, got)
    return list(_differing(where, json.loads(expected), json.loads(got), loose=loose))


def _differing(where: str, expected: Any, got: Any, *, loose: set[str]) -> list[str]:
    """Keys in order, kinds of values, and the values themselves where they are not volatile."""
    if isinstance(expected, dict) and isinstance(got, dict):
        if list(expected) != list(got):
            return [f"{where} has keys {list(got)} instead of {list(expected)}"]
        return [
            problem
            for key in expected
            for problem in _differing_value(f"{where}.{key}", key, expected[key], got[key], loose)
        ]
    if isinstance(expected, list) and isinstance(got, list):
        pairs = zip(expected, got, strict=False)
        problems = _difference(f"{where} length", len(expected), len(got))
        for place, (one, other) in enumerate(pairs):
            problems += _differing(f"{where}[{place}]", one, other, loose=loose)
        return problems
    return _difference(where, expected, got)


def _differing_value(where: str, key: str, expected: Any, got: Any, loose: set[str]) -> list[str]:
    if key == "id":
        return _difference(where, RANDOM_ID.sub("", expected), RANDOM_ID.sub("", got))
    if isinstance(expected, dict):
        return _differing(where, expected, got, loose=loose)
    if key == "created":
        return _difference(where, "int", type(got).__name__)
    if key in loose:
        if "finish_reason" in loose and key == "stop_reason":
            return []
        return _difference(f"{where} kind", _kind(expected), _kind(got))
    return _differing(where, expected, got, loose=loose)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _differing_metrics(expected: str, got: str) -> list[str]:
    theirs, ours = _metric_shapes(expected), _metric_shapes(got)
    problems = [f"metric {name} is missing" for name in theirs if name not in ours]
    problems += [f"metric {name} is new" for name in ours if name not in theirs]
    for name in theirs.keys() & ours.keys():
        problems += _difference(f"metric {name}", theirs[name], ours[name])
    return problems


ENUMERATED = {
    "reason",
    "source",
    "finished_reason",
    "sleep_state",
    "le",
    "engine",
    "model_name",
    "generation",
}
"""Labels whose values are the same everywhere; of the others the names are compared."""
WHEN_USED = ("http_", "vllm:lora_requests_info")
"""Metrics that have samples by what was asked: that the kinds of labels agree is enough."""


def _metric_shapes(text: str) -> dict[str, Any]:
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    labels: dict[str, set[Any]] = {name: set() for name in types}
    for name, inside in re.findall(r"^([\w:]+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', inside)
        family = next(
            family
            for family in (name, *(name.removesuffix(s) for s in ("_bucket", "_count", "_sum")))
            if family in types
        )
        shown = tuple((key, value if key in ENUMERATED else "") for key, value in pairs)
        labels[family].add((name, shown))
    return {
        name: (types[name], helps[name], set() if name.startswith(WHEN_USED) else labels[name])
        for name in types
    }


def test_every_difference_is_of_a_request_that_was_recorded():
    names = {recorded.name for recorded in read_session("A_noauth").requests}
    assert names >= DIFFERENCES.keys() | NOT_COMPARED.keys()


@pytest.mark.parametrize("name", ["B_apikey_noruntimelora_shutdown30", "C_apikey_runtimelora_shutdown2"])
def test_a_server_with_an_api_key_answers_as_recorded(name, adapters):
    async def play() -> list[str]:
        async with Played(name, adapters) as played:
            before = [r for r in played.session.requests if "sigterm" not in r.name]
            return [problem for recorded in before for problem in await played.play(recorded)]

    assert asyncio.run(play()) == []


def test_a_server_without_an_api_key_answers_as_recorded(adapters):
    async def play() -> list[str]:
        async with Played("A_noauth", adapters) as played:
            problems: list[str] = []
            for recorded in played.session.requests:
                if recorded.name == "unload_while_streaming":
                    break
                problems += await played.play(recorded)
            problems += await _unload_while_streaming(played)
            problems += await _look_while_busy(played)
            problems += await played.play_all(["metrics_idle_end"])
            left = {r.name for r in played.session.requests if "sigterm" not in r.name}
            assert left <= played.done
            return problems

    problems = asyncio.run(play())
    assert problems == [], "\n".join(problems)


async def _unload_while_streaming(played: Played) -> list[str]:
    stream = asyncio.create_task(played.play(played.session.of("stream_of_adapter_unloaded_midway")))
    await asyncio.sleep(0.1)
    problems = await played.play_all(["unload_while_streaming", "cmpl_l4_after_unload_while_streaming"])
    assert not stream.done()
    return problems + await stream


async def _look_while_busy(played: Played) -> list[str]:
    """Two adapters run and two wait for their slots; then base requests fill the seats, three wait too."""
    run = [_long_completion(model) for model in ("l0", "l1")]
    wait = [_long_completion(model) for model in ("l7", "r16")]
    base = [_long_completion("base") for _ in range(5)]
    tasks = [asyncio.create_task(played.ask(one)) for one in run]
    await _until(played.emulator, running=2, waiting=0)
    tasks += [asyncio.create_task(played.ask(one)) for one in wait]
    await _until(played.emulator, running=2, waiting=2)
    problems = await played.play_all(["metrics_2running_2deferred"])
    problems += await _differing_queues(played, "metrics_2running_2deferred")
    tasks += [asyncio.create_task(played.ask(one)) for one in base]
    await _until(played.emulator, running=4, waiting=5)
    problems += await played.play_all(["metrics_4running_2deferred_3capacity"])
    problems += await _differing_queues(played, "metrics_4running_2deferred_3capacity")
    problems += await played.play_all(["load_while_busy", "health_while_busy"])
    answers = await asyncio.gather(*tasks)
    assert {answer.status for answer in answers} == {200}
    return problems


async def _differing_queues(played: Played, name: str) -> list[str]:
    """Of the gauges that say who waits for what, the values agree too."""
    recorded = played.session.of(name)
    pattern = r"^(vllm:num_requests_\S+) (\S+)$"
    got = await played.ask(recorded)
    expected = dict(re.findall(pattern, recorded.response["body"], re.MULTILINE))
    return _difference(name, expected, dict(re.findall(pattern, got.body, re.MULTILINE)))


async def _until(emulator: Emulator, **shown: int) -> None:
    for _ in range(1000):
        if shown.items() <= emulator.state().items():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{shown} expected, there is {emulator.state()}")


def _long_completion(model: str) -> Recorded:
    body = {"model": model, "prompt": [7] * 10, "max_tokens": 600, "ignore_eos": True}
    request = {"method": "POST", "path": "/v1/completions", "headers": {"Content-Type": "application/json"}}
    return Recorded("background", {**request, "body": body}, {})


def test_sigterm_with_a_timeout_lets_requests_end_and_aborts_new_ones(adapters):
    async def play() -> list[str]:
        played = Played("B_apikey_noruntimelora_shutdown30", adapters)
        await played.emulator.start()
        under_way = [
            asyncio.create_task(played.play(played.session.of(name))) for name in sorted(AFTER_SIGTERM)
        ]
        await _until(played.emulator, running=2)
        drained = asyncio.create_task(played.emulator.drain())
        await asyncio.sleep(0.02)
        problems = await played.play_all(
            ["health_0.1s_after_sigterm", "new_completion_0.1s_after_sigterm", "models_0.1s_after_sigterm"]
        )
        assert not drained.done()
        for task in under_way:
            problems += await task
        await drained
        assert await played.emulator.wait() == 0
        return problems

    assert asyncio.run(play()) == []


def test_sigterm_without_a_timeout_aborts_what_is_under_way(adapters):
    async def play() -> list[str]:
        played = Played("A_noauth", adapters)
        await played.emulator.start()
        names = sorted(AFTER_SIGTERM)
        under_way = [asyncio.create_task(played.ask(played.session.of(name))) for name in names]
        await _until(played.emulator, running=2)
        await asyncio.sleep(0.3)
        await played.emulator.drain()
        problems: list[str] = []
        for name, task in zip(names, under_way, strict=True):
            recorded, answer = played.session.of(name), await task
            problems += _differing_headers(recorded.response["headers"], answer.headers)
            if "events" in recorded.response:
                for one, other in zip(recorded.response["events"][-3:], answer.events[-3:], strict=True):
                    problems += _differing_event(name, one, other, VOLATILE | COUNTED)
            else:
                problems += _differing(
                    name, recorded.response["body"], json.loads(answer.body), loose=VOLATILE | COUNTED
                )
        problems += await played.play_all(["health_0.1s_after_sigterm", "new_completion_0.1s_after_sigterm"])
        return problems

    assert asyncio.run(play()) == []


def test_a_timeout_that_is_too_short_ends_in_aborts(adapters):
    """There vLLM leaves its clients hanging (recording C); the emulator aborts, as vLLM means to (A)."""

    async def play() -> list[str]:
        played = Played("C_apikey_runtimelora_shutdown2", adapters)
        await played.emulator.start()
        request = _long_completion("l0")
        request.request["headers"]["Authorization"] = "Bearer sekret"
        request.request["body"]["max_tokens"] = 2000
        long = [asyncio.create_task(played.ask(request)) for _ in range(8)]
        await _until(played.emulator, running=4)
        await played.emulator.drain()
        return [json.loads((await task).body)["choices"][0]["finish_reason"] for task in long]

    reasons = asyncio.run(play())
    assert set(reasons) <= {"abort", "length"}
    assert reasons.count("abort") >= 4
