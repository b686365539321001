"""Rates from a user's own Prometheus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout

from adapter_operator.traffic.errors import TrafficError

if TYPE_CHECKING:
    from collections.abc import Mapping

LABEL: Final = "adapter"
TIMEOUT_S: Final = 10.0


async def query_rates(address: str, query: str) -> Mapping[str, float]:
    """Requests/s by adapter: the query's result, whose series must carry the label `adapter`.

    Args:
        address: Prometheus's address, such as `http://prometheus:9090`.
        query: PromQL that yields an instant vector.

    Raises:
        TrafficError: Prometheus does not answer, refuses the query, or its result is not what it should be.
    """
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=TIMEOUT_S)) as session,
            session.post(f"{address.rstrip('/')}/api/v1/query", data={"query": query}) as response,
        ):
            answer = await response.json(content_type=None)
    except (ClientError, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise TrafficError(f"traffic.prometheus.address: {address} does not answer ({reason})") from error
    return rates_of(answer)


def rates_of(answer: Any) -> Mapping[str, float]:
    """The rates in Prometheus's answer to an instant query.

    Raises:
        TrafficError: naming what is wrong with the query.
    """
    if not isinstance(answer, dict) or answer.get("status") != "success":
        reason = answer.get("error", "no success") if isinstance(answer, dict) else "not JSON"
        raise TrafficError(f"traffic.prometheus.query: {reason}")
    data = answer["data"]
    if data["resultType"] != "vector":
        raise TrafficError(
            f"traffic.prometheus.query: gives a {data['resultType']}; "
            "it must give a vector, one value per adapter"
        )
    rates: dict[str, float] = {}
    for series in data["result"]:
        adapter = series["metric"].get(LABEL)
        if adapter is None:
            raise TrafficError(
                f"traffic.prometheus.query: a series has no label {LABEL!r}; aggregate by ({LABEL})"
            )
        if adapter in rates:
            raise TrafficError(f"traffic.prometheus.query: adapter {adapter} has several series; sum them")
        rates[adapter] = _rate(adapter, series["value"][1])
    return rates


def _rate(adapter: str, text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0.0:
        raise TrafficError(
            f"traffic.prometheus.query: adapter {adapter} has the rate {text}; it must be 0 or more"
        )
    return value
