"""All objects of a kind with some labels, kept up to date: list, then watch; list again where that breaks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from adapter_operator.kubernetes.errors import ApiError, ExpiredError

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter_operator.kubernetes.client import KubernetesClient, Manifest, Resource

logger = logging.getLogger(__name__)

BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 30.0


class Informer:
    """The objects as they are, as far as this process knows."""

    def __init__(
        self,
        client: KubernetesClient,
        resource: Resource,
        namespace: str,
        labels: str,
        on_change: Callable[[], None],
    ) -> None:
        """An informer that knows nothing yet.

        Args:
            client: The API server's client.
            resource: The kind of objects.
            namespace: Their namespace; all where it is empty.
            labels: Their label selector.
            on_change: Called after the first list, and after every change.
        """
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._on_change = on_change
        self._objects: dict[tuple[str, str], Manifest] | None = None

    @property
    def synced(self) -> bool:
        """Whether the objects have been listed once."""
        return self._objects is not None

    @property
    def objects(self) -> tuple[Manifest, ...]:
        """All objects."""
        return tuple((self._objects or {}).values())

    async def run(self) -> None:
        """Keep up to date, until cancelled."""
        version, delay_s = "", BACKOFF_S
        while True:
            try:
                version = version or await self._list()
                async for event in self._client.watch(
                    self._resource, self._namespace, labels=self._labels, version=version
                ):
                    version, delay_s = self._take(event), BACKOFF_S
            except ExpiredError:
                version = ""
            except ApiError as error:
                logger.warning("%s; trying again in %g s", error, delay_s)
                version = ""
                await asyncio.sleep(delay_s)
                delay_s = min(LONGEST_BACKOFF_S, 2 * delay_s)

    async def _list(self) -> str:
        version, items = await self._client.list_versioned(
            self._resource, self._namespace, labels=self._labels
        )
        self._objects = {_key(item): item for item in items}
        self._on_change()
        return version

    def _take(self, event: Manifest) -> str:
        """Note an event; the version to watch on from."""
        manifest: Manifest = event["object"]
        if self._objects is not None and event["type"] != "BOOKMARK":
            if event["type"] == "DELETED":
                self._objects.pop(_key(manifest), None)
            else:
                self._objects[_key(manifest)] = manifest
            self._on_change()
        return str(manifest["metadata"]["resourceVersion"])


def _key(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest["metadata"]
    return metadata["namespace"], metadata["name"]
