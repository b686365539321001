"""Leadership by a Lease, with a fence: who may have lost it writes nothing any more.

The clocks of machines are not compared: a candidate takes the Lease once it has itself seen it unchanged for
the Lease's duration, and a leader stops writing when its own last renewal is older than the renew deadline,
which is shorter. Between the two lies the time that a request on its way may still take.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from adapter_operator.kubernetes.client import KubernetesClient, Manifest, Resource
from adapter_operator.kubernetes.errors import ApiError, ConflictError, LeadershipLostError
from adapter_operator.settings import LeaderSettings

LEASES: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sighting:
    """The Lease as it was last seen to change, and when by our own clock (seconds)."""

    version: str
    at: float


class LeaderElector:
    """Takes the Lease, renews it, and knows whether writing is still allowed."""

    def __init__(
        self,
        client: KubernetesClient,
        settings: LeaderSettings,
        identity: str,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """An elector; its client must not be fenced by itself."""
        self._client = client
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._seen = _Sighting("", float("-inf"))
        self._renewed_at = float("-inf")

    @property
    def leads(self) -> bool:
        """Whether the last renewal is young enough to write."""
        return self._clock() - self._renewed_at < self._settings.renew_deadline_s

    def fence(self) -> None:
        """Raise unless this process certainly leads."""
        if not self.leads:
            raise LeadershipLostError(f"{self._identity} does not hold the Lease {self._settings.name}")

    async def acquire(self) -> None:
        """Wait until this process leads."""
        while not await self._try():  # noqa: ASYNC110 - what is waited for happens on another machine
            await asyncio.sleep(self._settings.retry_s)
        logger.info("leading", extra={"identity": self._identity})

    async def hold(self) -> None:
        """Renew until that fails for too long, then raise `LeadershipLostError`."""
        while self.leads:
            await asyncio.sleep(self._settings.retry_s)
            await self._try()
        self.fence()

    async def release(self) -> None:
        """Give the Lease up, so that the next leader need not wait."""
        if not self.leads:
            return
        self._renewed_at = float("-inf")
        try:
            lease = await self._client.get(LEASES, self._settings.namespace, self._settings.name)
            if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                await self._client.replace(LEASES, self._settings.namespace, self._released(lease))
        except ApiError as error:
            logger.warning("the Lease could not be released: %s", error)

    async def _try(self) -> bool:
        """One attempt to take or renew; True if this process now leads."""
        started = self._clock()
        try:
            taken = await self._take()
        except ConflictError:
            taken = False
        except ApiError as error:
            logger.warning("the Lease cannot be read or written: %s", error)
            return False
        if taken:
            self._renewed_at = started
        return taken

    async def _take(self) -> bool:
        lease = await self._client.get(LEASES, self._settings.namespace, self._settings.name)
        if lease is None:
            await self._client.create(LEASES, self._settings.namespace, self._lease(None))
            return True
        if not self._free(lease):
            return False
        await self._client.replace(LEASES, self._settings.namespace, self._lease(lease))
        return True

    def _free(self, lease: Manifest) -> bool:
        """Whether the Lease is ours already, given up, or no longer renewed by its holder."""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen.version:
            self._seen = _Sighting(version, self._clock())
        holder = lease.get("spec", {}).get("holderIdentity")
        duration_s = lease.get("spec", {}).get("leaseDurationSeconds", self._settings.lease_s)
        return holder in (None, "", self._identity) or self._clock() - self._seen.at > duration_s

    def _lease(self, present: Manifest | None) -> Manifest:
        """The Lease with this process as its holder."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        before: dict[str, Any] = present.get("spec", {}) if present else {}
        renewal = before.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._settings.lease_s),
            "renewTime": now,
            "acquireTime": before.get("acquireTime", now) if renewal else now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if renewal or not present else 1),
        }
        metadata = present["metadata"] if present else {"name": self._settings.name}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}

    def _released(self, lease: Manifest) -> Manifest:
        return lease | {"spec": lease["spec"] | {"holderIdentity": ""}}
