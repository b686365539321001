import numpy as np
import pytest

from adapter_twin.errors import WorkloadError
from adapter_twin.workload import read_trace

HEADER = "arrival_time,prompt_tokens,output_tokens,adapter\n"


@pytest.fixture
def trace(tmp_path):
    def write(text, header=HEADER):
        path = tmp_path / "trace.csv"
        path.write_text(header + text)
        return path

    return write


def test_reads_requests_and_rates(trace):
    adapters, requests = read_trace(trace("10,5,6,b\n0.5,7,8,a\n2,9,1,\n4,1,1,a\n"), ranks={"a": 32})
    assert [(a.name, a.rate, a.rank) for a in adapters] == [("b", 0.1, 16), ("a", 0.2, 32)]
    assert requests.arrival_s.tolist() == [0.5, 2.0, 4.0, 10.0]
    assert requests.adapter.tolist() == [1, -1, 1, 0]
    assert requests.prompt_tokens.tolist() == [7, 9, 1, 5]
    assert requests.output_tokens.dtype == np.int32


def test_other_columns_are_ignored(trace):
    _, requests = read_trace(trace("someone,0,2,3,a\n", header="user," + HEADER))
    assert requests.count == 1


@pytest.mark.parametrize(
    ("text", "header", "message"),
    [
        ("0,1,1\n", "arrival_time,prompt_tokens,adapter\n", "column output_tokens is missing, a trace needs"),
        ("", HEADER, "holds no requests"),
        ("x,1,1,a\n", HEADER, "line 2: arrival_time 'x' is not a number of at least 0"),
        ("-1,1,1,a\n", HEADER, "line 2: arrival_time '-1'"),
        ("0,1,1,a\n0,0,1,a\n", HEADER, "line 3: prompt_tokens '0'"),
        ("0,1,1.5,a\n", HEADER, "line 2: output_tokens '1.5' is not a whole number"),
        ("0,1\n", HEADER, "line 2: output_tokens None"),
    ],
)
def test_problems_are_named(trace, text, header, message):
    with pytest.raises(WorkloadError, match=message):
        read_trace(trace(text, header))


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_trace(tmp_path / "absent.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkloadError, match="not a CSV file"):
        read_trace(binary)
