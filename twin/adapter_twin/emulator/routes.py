"""Paths, methods and keys: what is answered before anybody looks at the body."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from adapter_twin.emulator.answers import compact
from adapter_twin.emulator.http import CORS, JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter_twin.emulator.http import Exchange, Request

    Handler = Callable[[Request, Exchange], None]

_GUARDED: Final = ("/v1", "/v2")


class Router:
    """Finds the handler of a request, or answers that there is none."""

    def __init__(self, routes: Mapping[str, Mapping[str, Handler]], api_keys: Sequence[str]) -> None:
        self._routes = routes
        self._keys = [key.encode() for key in api_keys]

    def knows(self, request: Request) -> bool:
        """Whether there is a handler of that path and method, or a redirection to one."""
        path = request.path
        if path in self._routes:
            return request.method in self._routes[path]
        return path.rstrip("/") in self._routes

    def find(self, request: Request, exchange: Exchange) -> Handler | None:
        """The handler; None: it was answered here."""
        if not self._allowed(request):
            exchange.respond(401, compact({"error": "Unauthorized"}), JSON, headers=())
            return None
        path = request.path
        methods = self._routes.get(path)
        if methods is None:
            self._answer_unknown(path, request, exchange)
            return None
        handler = methods.get(request.method)
        if handler is None:
            detail = compact({"detail": "Method Not Allowed"})
            exchange.respond(405, detail, JSON, allow=next(iter(methods)))
        return handler

    def _answer_unknown(self, path: str, request: Request, exchange: Exchange) -> None:
        if len(path) > 1 and path.rstrip("/") in self._routes:
            query = request.target.partition("?")[2]
            host = request.headers.get("host", "localhost")
            location = f"http://{host}{path.rstrip('/')}{'?' if query else ''}{query}"
            exchange.respond(307, headers=[("location", location), *CORS])
        else:
            exchange.respond(404, compact({"detail": "Not Found"}), JSON)

    def _allowed(self, request: Request) -> bool:
        if not self._keys or request.method == "OPTIONS" or not request.path.startswith(_GUARDED):
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        return any(hmac.compare_digest(token.encode(), key) for key in self._keys)
