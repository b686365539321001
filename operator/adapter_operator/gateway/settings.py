"""Settings of the gateway: read once, frozen."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsSettings(_Group):
    """The certificate that clients are shown; files that change are read again.

    Attributes:
        certificate: The chain, PEM.
        key: Its private key, PEM.
    """

    certificate: Path
    key: Path


class EnvoySettings(_Group):
    """What Envoy is started with, and never changes.

    Attributes:
        address: Where clients connect.
        port: The port for clients.
        observation_port: Serves `GET /ready` and `GET /stats/prometheus`, nothing else of the admin one.
        admin_port: Envoy's admin interface, on loopback only.
        discovery_port: Where `adaptwin gateway run` listens, on loopback.
        tls: Certificate for clients; plain HTTP where None.
        counts_streamed_tokens: Whether tokens of streamed answers are counted too (Envoy marks that filter as
            work in progress).
    """

    address: str = "0.0.0.0"  # noqa: S104 - clients come from outside the pod
    port: Port = 8080
    observation_port: Port = 8081
    admin_port: Port = 9901
    discovery_port: Port = 18000
    tls: TlsSettings | None = None
    counts_streamed_tokens: bool = True
