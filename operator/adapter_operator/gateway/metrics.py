"""The gateway's own metrics; those of the traffic are Envoy's."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

ENVOYS: Final = "adaptwin_gateway_connected_envoys"
PUBLICATIONS: Final = "adaptwin_gateway_published_tables"
REFUSALS: Final = "adaptwin_gateway_refused_resources"
CONFLICTS: Final = "adaptwin_gateway_host_conflicts"


class GatewayMetrics:
    """All metrics of one `adaptwin gateway run`, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.envoys = Gauge(ENVOYS, "Envoys that are connected.", registry=registry)
        self.publications = Counter(PUBLICATIONS, "Routing tables that were published.", registry=registry)
        self.refusals = Counter(REFUSALS, "Responses that an Envoy did not accept.", registry=registry)
        self.conflicts = Gauge(CONFLICTS, "Virtual hosts whose domain is taken.", registry=registry)
