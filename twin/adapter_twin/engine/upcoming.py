"""Requests that are on their way to an engine: a ring of their numbers, in the order of arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.engine.state import Engine


def pending(e: Engine) -> NDArray[np.int32]:
    """Those that have not reached the engine's queue."""
    return e.upcoming[_places(e.state.next_arrival[0], e.state.submitted[0], e.upcoming)]


def send(e: Engine, requests: NDArray[np.int32]) -> None:
    """Add requests, sorted by arrival; those that are on their way already may arrive later."""
    before = pending(e)
    arrival_s = e.requests.arrival_s
    if before.size and requests.size and arrival_s[requests[0]] < arrival_s[before[-1]]:
        both = np.concatenate([before, requests])
        _replace(e, both[np.argsort(arrival_s[both], kind="stable")])
    else:
        end = e.state.submitted[0]
        e.upcoming[_places(end, end + requests.size, e.upcoming)] = requests
        e.state.submitted[0] = end + requests.size


def withdraw(e: Engine, request: int) -> None:
    """Stop a request on its way."""
    before = pending(e)
    _replace(e, before[before != request])


def _replace(e: Engine, requests: NDArray[np.int32]) -> None:
    first = e.state.next_arrival[0]
    e.upcoming[_places(first, first + requests.size, e.upcoming)] = requests
    e.state.submitted[0] = first + requests.size


def _places(first: int, end: int, ring: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.arange(first, end) & (ring.size - 1)
