"""Requests on their way through the gateway, while the routing table changes."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adapter_twin.fleet.routing import routing_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.fleet.routing import RoutingTable
    from adapter_twin.workload.model import Requests, Workload

NOWHERE = -1
"""In place of a replica: no copy of the adapter was routed to."""


class CopiesChange(NamedTuple):
    """From this moment on so many copies of an adapter get traffic."""

    at_s: float
    adapter: int
    copies: int


class Traffic:
    """Every request gets its replica by the table as it stands when the request arrives.

    Arrivals are known beforehand, so they are placed in bulk: all those up to a moment before the table
    changes at that moment, or before a replica is asked how it stands.
    """

    def __init__(self, workload: Workload, requests: Requests, table: RoutingTable, seed: int) -> None:
        """Nothing has arrived yet.

        Args:
            workload: whose adapters draw their routes from streams of their own.
            requests: generated from it.
            table: as it stands at the start.
            seed: that of the requests.
        """
        self.requests = requests
        self.owner = np.full(requests.count, NOWHERE, dtype=np.int32)
        self.copies_at_start = np.array(
            [table.routed_copies(adapter) for adapter in range(table.adapters)], dtype=np.int64
        )
        self.copies_changes: list[CopiesChange] = []
        self._table = table
        self._draws_for = partial(routing_draws, workload, requests, seed)
        self._draws = self._draws_for("routing")
        self._placed = 0

    @cached_property
    def _second_draws(self) -> NDArray[np.float64]:
        """For requests that are sent again."""
        return self._draws_for("retry")

    @property
    def placed(self) -> int:
        """How many requests have got their replica."""
        return self._placed

    def settle(self, until_s: float) -> None:
        """Place what arrives before `until_s`."""
        start = self._placed
        end = max(start, int(np.searchsorted(self.requests.arrival_s, until_s, side="left")))
        if end > start:
            segment = slice(start, end)
            self.owner[segment] = self._table.place(self.requests.adapter[segment], self._draws[segment])
            self._placed = end

    def arrived(self, replica: int, since: int) -> tuple[NDArray[np.int64], int]:
        """Requests from number `since` on that were placed at a replica, and where to go on next time."""
        own = since + np.flatnonzero(self.owner[since : self._placed] == replica)
        return own, self._placed

    def place_again(self, again: NDArray[np.int64]) -> NDArray[np.int32]:
        """New replicas for requests that were cut off."""
        self.owner[again] = self._table.place(self.requests.adapter[again], self._second_draws[again])
        return self.owner[again]

    def assigned(self, adapter: int) -> NDArray[np.float64]:
        """An adapter's shares, shape (replicas,)."""
        return self._table.assigned(adapter)

    def assign(self, at_s: float, adapter: int, shares: NDArray[np.float64]) -> None:
        """From now on an adapter's traffic goes by other shares, shape (replicas,)."""
        self.settle(at_s)
        self._table.assign(adapter, shares)
        self._note(at_s, adapter)

    def set_available(self, at_s: float, replica: int, adapter: int, available: bool) -> None:
        """From now on a copy is confirmed, or gone."""
        self.settle(at_s)
        self._table.set_available(replica, adapter, available)
        self._note(at_s, adapter)

    def _note(self, at_s: float, adapter: int) -> None:
        self.copies_changes.append(CopiesChange(at_s, adapter, self._table.routed_copies(adapter)))
