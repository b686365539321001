"""The server: its address and endpoints, and the heads of what it is asked."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, urlsplit

from adapter_operator.load.errors import LoadError

LOWEST_TOKEN: Final = 1000
HIGHEST_TOKEN: Final = 9999
"""Ordinary tokens in the vocabularies of today's models: above special ones, below the end of small ones."""

_PORTS: Final = {"http": 80, "https": 443}


class Endpoint(StrEnum):
    """Which of the server's endpoints."""

    COMPLETIONS = "completions"
    CHAT = "chat"

    @property
    def path(self) -> str:
        """Below the server's URL."""
        return "/v1/chat/completions" if self is Endpoint.CHAT else "/v1/completions"


@dataclass(frozen=True)
class Target:
    """A server of OpenAI's API."""

    host: str
    port: int
    tls: bool = False
    authority: str = ""
    """Of the Host header."""
    prefix: str = ""
    """Before the API's own paths."""
    api_key: str = ""

    @classmethod
    def at(cls, url: str, api_key: str = "", host_header: str = "") -> Target:
        """The server at a URL such as http://localhost:8000, with or without /v1.

        Raises:
            LoadError: it is not one.
        """
        parts = _split(url)
        host = parts.hostname or ""
        if parts.scheme not in _PORTS or not host:
            raise LoadError(f"--url: {url} is not a URL such as http://localhost:8000")
        if any(ord(sign) < 32 for sign in host_header + api_key):
            raise LoadError("--host, --api-key: line breaks are not allowed")
        return cls(
            host=host,
            port=parts.port or _PORTS[parts.scheme],
            tls=parts.scheme == "https",
            authority=host_header or parts.netloc.rpartition("@")[2],
            prefix=parts.path.rstrip("/").removesuffix("/v1"),
            api_key=api_key,
        )

    @property
    def url(self) -> str:
        """For people."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """What checks the server's certificate; None without TLS."""
        return ssl.create_default_context() if self.tls else None

    def head(self, endpoint: Endpoint) -> bytes:
        """A request up to the value of its Content-Length."""
        return f"POST {self.prefix}{endpoint.path} HTTP/1.1\r\n{self._fields()}Content-Length: ".encode(
            "latin-1"
        )

    def models_request(self) -> bytes:
        """The question which models there are."""
        return f"GET {self.prefix}/v1/models HTTP/1.1\r\n{self._fields()}\r\n".encode("latin-1")

    def _fields(self) -> str:
        key = f"Authorization: Bearer {self.api_key}\r\n" if self.api_key else ""
        return (
            f"Host: {self.authority}\r\nUser-Agent: adaptwin-load\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\n{key}"
        )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise LoadError(f"--url: {url} is not a URL such as http://localhost:8000") from error
    return parts
