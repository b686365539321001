"""Who gets a request: the assignment, narrowed to the copies that are confirmed and alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.errors import WorkloadError
from adapter_twin.workload.model import require_distinct
from adapter_twin.workload.random_streams import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.fleet.model import FleetReplica
    from adapter_twin.workload.model import Requests, Workload

SHARE_TOLERANCE = 1e-6
_FULL = 1.0 - 1e-9


def share_matrix(replicas: Sequence[FleetReplica], workload: Workload) -> NDArray[np.float64]:
    """The replicas' shares, shape (replicas, adapters).

    Raises:
        WorkloadError: shares name unknown adapters, or do not add up to at most 1.
    """
    require_distinct((replica.name for replica in replicas), "replicas")
    index = {adapter.name: i for i, adapter in enumerate(workload.adapters)}
    shares = np.zeros((len(replicas), len(index)))
    for row, replica in zip(shares, replicas, strict=True):
        for name, share in replica.shares:
            if name not in index:
                raise WorkloadError(f"replica {replica.name}: adapter {name} is not in the workload")
            if not 0 < share <= 1:
                raise WorkloadError(
                    f"replica {replica.name}: share {share:g} of adapter {name} is not in (0, 1]"
                )
            row[index[name]] += share
    total = shares.sum(axis=0)
    if total.max(initial=0.0) > 1.0 + SHARE_TOLERANCE:
        worst = workload.adapters[int(total.argmax())].name
        raise WorkloadError(f"adapter {worst}: its shares add up to {total.max():g}, at most 1 is allowed")
    return shares


def routing_draws(
    workload: Workload, requests: Requests, seed: int, purpose: str = "routing"
) -> NDArray[np.float64]:
    """A number in [0, 1) for each request, which depends on the seed and the request alone.

    For the purpose "routing" they are the draws of `workload.route`, so that routing by a table that never
    changes is static routing.
    """
    draws = np.empty(requests.count)
    by_adapter = np.argsort(requests.adapter, kind="stable")
    counts = np.bincount(requests.adapter, minlength=len(workload.adapters))
    ends = np.cumsum(counts)
    for i, adapter in enumerate(workload.adapters):
        own = by_adapter[ends[i] - counts[i] : ends[i]]
        draws[own] = stream(seed, purpose, adapter.name).random(own.size)
    return draws


class RoutingTable:
    """The gateway's view: shares as assigned, copies as available, and what follows from the two.

    The traffic of a copy that is not available goes to the adapter's other copies, in proportion to their
    shares; an adapter without any has nowhere to go.
    """

    def __init__(self, assigned: NDArray[np.float64]) -> None:
        """A table of `assigned` shares, shape (replicas, adapters), whose copies are all available."""
        self._assigned = assigned.copy()
        self._available = assigned > 0
        self._limits = np.zeros_like(assigned)
        for adapter in range(assigned.shape[1]):
            self._renew(adapter)

    @property
    def adapters(self) -> int:
        """How many there are."""
        return int(self._assigned.shape[1])

    def assign(self, adapter: int, shares: NDArray[np.float64]) -> None:
        """Give an adapter's traffic to other replicas, shares of shape (replicas,)."""
        self._assigned[:, adapter] = shares
        self._renew(adapter)

    def assigned(self, adapter: int) -> NDArray[np.float64]:
        """The adapter's shares, shape (replicas,)."""
        return self._assigned[:, adapter].copy()

    def set_available(self, replica: int, adapter: int, available: bool) -> None:
        """A copy was confirmed, or is gone."""
        self._available[replica, adapter] = available
        self._renew(adapter)

    def routed_copies(self, adapter: int) -> int:
        """Copies that get traffic."""
        return int(np.count_nonzero((self._assigned[:, adapter] > 0) & self._available[:, adapter]))

    def place(self, adapter: NDArray[np.int32], draws: NDArray[np.float64]) -> NDArray[np.int32]:
        """The replica of each request, -1 where there is none; arrays of one length."""
        replicas = self._limits.shape[0]
        place = np.zeros(adapter.size, dtype=np.int32)
        for limits in self._limits:
            place += limits[adapter] <= draws
        place[place == replicas] = -1
        return place

    def _renew(self, adapter: int) -> None:
        shares = self._assigned[:, adapter]
        alive = np.where(self._available[:, adapter], shares, 0.0)
        if alive.any() and (alive != shares).any():
            alive = alive / alive.sum() * shares.sum()
        limits = np.cumsum(alive)
        limits[limits > _FULL] = 1.0
        self._limits[:, adapter] = limits
