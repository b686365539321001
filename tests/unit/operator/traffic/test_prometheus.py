"""Rates in Prometheus's answers."""

from __future__ import annotations

import asyncio

import pytest

from adapter_operator.traffic.errors import TrafficError
from adapter_operator.traffic.prometheus import query_rates, rates_of


def vector(*series: tuple[dict[str, str], str]) -> dict:
    result = [{"metric": metric, "value": [0, value]} for metric, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def test_one_series_is_one_adapter():
    answer = vector(({"adapter": "a"}, "0.5"), ({"adapter": "b"}, "2"))
    assert rates_of(answer) == {"a": 0.5, "b": 2.0}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": "error", "error": "parse error"}, "traffic.prometheus.query: parse error"),
        ("<html>", "traffic.prometheus.query: not JSON"),
        (
            {"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}},
            "traffic.prometheus.query: gives a scalar; it must give a vector, one value per adapter",
        ),
        (
            vector(({}, "1")),
            "traffic.prometheus.query: a series has no label 'adapter'; aggregate by (adapter)",
        ),
        (
            vector(({"adapter": "a", "pod": "x"}, "1"), ({"adapter": "a", "pod": "y"}, "1")),
            "traffic.prometheus.query: adapter a has several series; sum them",
        ),
        (
            vector(({"adapter": "a"}, "NaN")),
            "traffic.prometheus.query: adapter a has the rate NaN; it must be 0 or more",
        ),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(answer, message):
    with pytest.raises(TrafficError) as caught:
        rates_of(answer)
    assert str(caught.value) == message


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(
        TrafficError, match=r"^traffic.prometheus.address: http://127.0.0.1:1 does not answer"
    ):
        asyncio.run(query_rates("http://127.0.0.1:1", "up"))
