import gzip
import json

import numpy as np
import pytest

from adapter_twin.errors import WorkloadError
from adapter_twin.workload import (
    Adapter,
    Fixed,
    Requests,
    TraceRules,
    Workload,
    generate,
    read_trace,
    write_trace,
)

HEADER = "arrival_time,prompt_tokens,output_tokens,adapter\n"

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:51.2225670,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00+00:00,2399,6
2024-05-10 00:00:10.017335+00:00,76,15
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
60,GPT-4,300,0,300,API log
118,GPT-4,417,276,693,Conversation log
"""
BURSTGPT_2 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log
19440161.0,d5983bf9,2,ChatGPT,36,29,65,Conversation log
"""
MOONCAKE = """{"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1, 2]}
{"timestamp": 0, "input_length": 7319, "output_length": 490, "hash_ids": [0, 14]}

{"timestamp": 3052, "input_length": 7234, "output_length": 794, "hash_ids": [0, 28]}
"""


@pytest.fixture
def trace(tmp_path):
    def write(text, header=HEADER, name="trace.csv"):
        path = tmp_path / name
        path.write_text(header + text)
        return path

    return write


@pytest.fixture
def public(trace):
    return lambda text: trace(text, header="")


def test_reads_requests_and_rates(trace):
    read = read_trace(trace("10,5,6,b\n0.5,7,8,a\n2,9,1,\n4,1,1,a\n"), TraceRules(ranks=(16, 32)))
    assert [(a.name, a.rate, a.rank) for a in read.adapters] == [("b", 0.1, 16), ("a", 0.2, 32)]
    assert read.requests.arrival_s.tolist() == [0.5, 2.0, 4.0, 10.0]
    assert read.requests.adapter.tolist() == [1, -1, 1, 0]
    assert read.requests.prompt_tokens.tolist() == [7, 9, 1, 5]
    assert read.requests.output_tokens.dtype == np.int32
    assert (read.format, read.failed) == ("adaptwin", 0)


def test_other_columns_are_ignored(trace):
    read = read_trace(trace("someone,0,2,3,a\n", header="user," + HEADER))
    assert read.requests.count == 1


class TestPublicFormats:
    @pytest.mark.parametrize(
        ("text", "name", "arrival_s", "prompt", "failed"),
        [
            (AZURE_2023, "Azure LLM inference", [0.0, 4.314579, 64.541977], [374, 396, 879], 0),
            (AZURE_2024, "Azure LLM inference", [0.0, 0.00993, 10.017335], [2399, 2162, 76], 0),
            (BURSTGPT, "BurstGPT", [0.0, 40.0, 113.0], [472, 1087, 417], 1),
            (BURSTGPT_2, "BurstGPT", [0.0, 51.0], [906, 36], 0),
            (MOONCAKE, "Mooncake", [0.0, 0.0, 3.052], [6755, 7319, 7234], 0),
        ],
    )
    def test_is_told_by_its_columns(self, public, text, name, arrival_s, prompt, failed):
        read = read_trace(public(text))
        assert read.format == name
        assert read.requests.arrival_s == pytest.approx(arrival_s, abs=1e-6)
        assert read.requests.prompt_tokens.tolist() == prompt
        assert read.failed == failed
        assert read.adapters == ()
        assert set(read.requests.adapter.tolist()) == {-1}

    def test_a_column_may_name_adapters(self, public):
        read = read_trace(public(BURSTGPT), TraceRules(column="Model", ranks=(8, 16)))
        assert [(a.name, a.rank) for a in read.adapters] == [("ChatGPT", 8), ("GPT-4", 16)]
        assert read.requests.adapter.tolist() == [0, 0, 1]

    def test_gzipped(self, tmp_path):
        path = tmp_path / "azure.csv.gz"
        path.write_bytes(gzip.compress(AZURE_2023.encode()))
        assert read_trace(path).requests.count == 3

    def test_adapters_are_drawn_by_popularity(self, public):
        rows = "".join(
            json.dumps({"timestamp": i, "input_length": 1, "output_length": 1}) + "\n" for i in range(20_000)
        )
        read = read_trace(public(rows), TraceRules(adapters=50, zipf=1.0, seed=3))
        counts = np.bincount(read.requests.adapter, minlength=50)
        expected = 20_000 / np.arange(1, 51) / (1 / np.arange(1, 51)).sum()
        assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected) + 1)
        again = read_trace(public(rows), TraceRules(adapters=50, zipf=1.0, seed=3))
        assert np.array_equal(read.requests.adapter, again.requests.adapter)

    def test_a_slice_keeps_its_requests_adapters(self, public):
        rows = "".join(
            json.dumps({"timestamp": 1000 * i, "input_length": 1, "output_length": 1}) + "\n"
            for i in range(100)
        )
        whole = read_trace(public(rows), TraceRules(adapters=7))
        part = read_trace(public(rows), TraceRules(adapters=7, start_s=20.0, duration_s=5.0, speed=2.0))
        assert part.requests.arrival_s.tolist() == [i / 2 for i in range(10)]
        assert np.array_equal(part.requests.adapter, whole.requests.adapter[20:30])


def test_slices_leave_out_adapters_without_requests(trace):
    read = read_trace(trace("0,1,1,a\n5,1,1,b\n6,1,1,\n"), TraceRules(start_s=1.0))
    assert [adapter.name for adapter in read.adapters] == ["b"]
    assert read.requests.adapter.tolist() == [0, -1]
    assert read.requests.arrival_s.tolist() == [4.0, 5.0]


def test_what_is_written_reads_back_to_the_last_bit(tmp_path):
    adapters = tuple(Adapter(f"a,{i}", 1.0 / (i + 1), 8) for i in range(5))
    requests = generate(Workload(adapters, Fixed(7), Fixed(9), 500.0), seed=1)
    requests = Requests(
        requests.arrival_s,
        requests.prompt_tokens,
        requests.output_tokens,
        np.where(requests.adapter == 4, -1, requests.adapter),
    )
    seen = []
    path = tmp_path / "written.csv"
    with path.open("w", newline="") as file:
        write_trace(file, adapters, requests, seen.append)
    read = read_trace(path)
    assert seen[-1] == requests.count
    assert read.requests.arrival_s.tobytes() == requests.arrival_s.tobytes()
    assert read.requests.output_tokens.tobytes() == requests.output_tokens.tobytes()
    owners = [read.adapters[i].name if i >= 0 else None for i in read.requests.adapter]
    assert owners == [adapters[i].name if i >= 0 else None for i in requests.adapter]


@pytest.mark.parametrize(
    ("text", "header", "message"),
    [
        ("0,1,1\n", "arrival_time,prompt_tokens,adapter\n", "column output_tokens is missing, a trace needs"),
        ("0,1,1\n", "arrival_time,prompt_tokens,output_tokens\n", "column adapter is missing, a trace needs"),
        ("", "a,b\n", "column arrival_time is missing, a trace needs .* Azure, BurstGPT or Mooncake"),
        ("", HEADER, "holds no requests"),
        ("x,1,1,a\n", HEADER, "line 2: arrival_time 'x' is not a number of at least 0"),
        ("-1,1,1,a\n", HEADER, "line 2: arrival_time '-1'"),
        ("0,1,1,a\n0,0,1,a\n", HEADER, "line 3: prompt_tokens '0'"),
        ("0,1,1.5,a\n", HEADER, "line 2: output_tokens '1.5' is not a whole number"),
        ("0,1\n", HEADER, "line 2: output_tokens None"),
        (
            AZURE_2023.replace("2023-11-16 18:15:50.9951690", "soon"),
            "",
            "line 3: TIMESTAMP 'soon' is not a time",
        ),
        (MOONCAKE + "{", "", "line 5: not a JSON object"),
        (MOONCAKE + "7\n", "", "line 5: not a JSON object"),
        ('{"timestamp": 0}\n', "", "column arrival_time is missing"),
        (BURSTGPT.replace("472", "-3"), "", "line 2: Request tokens '-3' is not a number from 0 to"),
    ],
)
def test_problems_are_named(trace, text, header, message):
    with pytest.raises(WorkloadError, match=message):
        read_trace(trace(text, header))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (lambda: TraceRules(adapters=2, column="Model"), "either a number of adapters or the column"),
        (lambda: TraceRules(speed=0.0), "trace speed: 0 is not allowed"),
        (lambda: TraceRules(start_s=-1.0), "trace start: -1 is not allowed"),
        (lambda: TraceRules(duration_s=0.0), "duration_s: 0 is not allowed"),
    ],
)
def test_bad_rules_are_named(rules, message):
    with pytest.raises(WorkloadError, match=message):
        rules()


def test_rules_that_do_not_fit_the_trace_are_named(trace, public):
    with pytest.raises(WorkloadError, match="names its adapters already"):
        read_trace(trace("0,1,1,a\n"), TraceRules(adapters=3))
    with pytest.raises(WorkloadError, match="column Modell is missing"):
        read_trace(public(BURSTGPT), TraceRules(column="Modell"))
    with pytest.raises(WorkloadError, match="no requests are left"):
        read_trace(trace("0,1,1,a\n"), TraceRules(start_s=5.0))
    with pytest.raises(WorkloadError, match="zipf: exponent 11 is not allowed"):
        read_trace(public(MOONCAKE), TraceRules(adapters=3, zipf=11.0))


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_trace(tmp_path / "absent.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkloadError, match="not a CSV or JSON Lines file"):
        read_trace(binary)
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"not gzip at all")
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_trace(broken)
