"""The engine schedules as vLLM does: step by step equal to recordings of the real scheduler."""

import gzip
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapter_twin.cli import app
from adapter_twin.conformance.comparison import difference
from adapter_twin.conformance.recording import Recording, read_recording
from adapter_twin.errors import ConformanceError

DATA = Path(__file__).parents[1] / "data" / "conformance"
FOLDER = Path(os.environ.get("ADAPTWIN_CONFORMANCE", DATA))
SYNCHRONOUS = DATA / "c5_all_reserve_tiny.json.gz"
ASYNCHRONOUS = DATA / "c6_async_c4_lora_cpu3_tiny.json.gz"


def recordings():
    return sorted(FOLDER.glob("*.json*"))


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name.split(".")[0])
def test_schedules_as_recorded(path):
    assert difference(read_recording(path)) is None


def test_recordings_are_there():
    names = [path.name for path in recordings()]
    assert len(names) >= 40
    assert sum("async" in name for name in names) >= 9


def content(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def altered(value):
    """Something else of the same kind."""
    match value:
        case bool() | None:
            return True
        case int():
            return value + 1
        case [*head, _] if head:
            return head
        case [str()]:
            return []
        case _:
            return [[99, 1]]


@pytest.mark.parametrize("path", [SYNCHRONOUS, ASYNCHRONOUS], ids=["synchronous", "asynchronous"])
def test_every_recorded_field_is_compared(path):
    recording = content(path)
    fields = {field for step in recording["steps"] for field in step} - {"t"}
    assert len(fields) >= 15
    for field in fields:
        place = next(i for i, step in enumerate(recording["steps"]) if step.get(field))
        steps = [dict(step) for step in recording["steps"]]
        steps[place][field] = altered(steps[place][field]) if field not in ("idle", "nosched") else False
        found = difference(Recording.model_validate(recording | {"steps": steps}))
        assert found is not None, field
        assert found.startswith(f"different at step {place}: "), field


@pytest.mark.parametrize("path", [SYNCHRONOUS, ASYNCHRONOUS], ids=["synchronous", "asynchronous"])
def test_a_recording_cut_short_or_drawn_out_is_different(path):
    recording = content(path)
    steps = recording["steps"]
    cut = Recording.model_validate(recording | {"steps": steps[:-1]})
    assert "the recording has ended" in difference(cut)
    longer = Recording.model_validate(recording | {"steps": [*steps, {"t": len(steps)}]})
    assert "the recording goes on" in difference(longer)


class TestCommand:
    @pytest.fixture
    def conform(self):
        return lambda *paths: CliRunner().invoke(app, ["conform", *map(str, paths)])

    def test_prints_one_line_a_file_and_nothing_else(self, conform):
        done = conform(SYNCHRONOUS, ASYNCHRONOUS)
        assert done.stdout == f"{SYNCHRONOUS.name}: same\n{ASYNCHRONOUS.name}: same\n"
        assert done.stderr == ""
        assert done.exit_code == 0

    def test_a_difference_exits_with_1(self, conform, tmp_path):
        recording = content(SYNCHRONOUS)
        recording["arrivals"][0]["prompt_tokens"] += 1
        other = tmp_path / "other.json"
        other.write_text(json.dumps(recording))
        done = conform(other, SYNCHRONOUS)
        assert done.stdout.startswith("other.json: different at step 0: computed is ")
        assert done.stdout.endswith(f"{SYNCHRONOUS.name}: same\n")
        assert done.exit_code == 1

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (None, "it cannot be read"),
            ("", "document: Invalid JSON"),
            ("{}", "format: Field required"),
            ("[]", "document: Input should be an object"),
        ],
    )
    def test_what_cannot_be_read_exits_with_2(self, conform, tmp_path, text, message):
        bad = tmp_path / "bad.json"
        if text is not None:
            bad.write_text(text)
        done = conform(SYNCHRONOUS, bad)
        assert done.stdout == f"{SYNCHRONOUS.name}: same\n"
        assert done.stderr.startswith("error: bad.json: ")
        assert message in done.stderr
        assert done.exit_code == 2

    def test_a_damaged_gzip_exits_with_2(self, conform, tmp_path):
        bad = tmp_path / "bad.json.gz"
        bad.write_bytes(SYNCHRONOUS.read_bytes()[:200])
        assert conform(bad).exit_code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["engine"]["scheduler_config"].update(policy="priority"), "scheduler_config.policy"),
        (lambda r: r["engine"]["cache_config"].update(enable_prefix_caching=True), "enable_prefix_caching"),
        (lambda r: r["engine"].update(lora_config=None), "engine.lora_config: it is missing"),
        (lambda r: r.update(format="trace-2. New."), "format: it must begin with trace-1"),
        (lambda r: r["arrivals"].append(r["arrivals"][0]), "arrivals: an id occurs twice"),
        (lambda r: r["steps"].pop(3), "steps.3.t: it must be 3"),
        (lambda r: r["steps"][0].update(lora_apply=["?"]), "no request names ?"),
        (lambda r: r["arrivals"][0].update(prompt_tokens=100_000), "can never be served"),
        (lambda r: r["steps"][2].update(mood="good"), "the field mood is not known"),
    ],
)
def test_what_is_not_simulated_is_refused(tmp_path, change, message):
    recording = content(SYNCHRONOUS)
    change(recording)
    path = tmp_path / "recording.json"
    path.write_text(json.dumps(recording))
    with pytest.raises(ConformanceError, match=message.replace("?", "\\?")):
        difference(read_recording(path))
