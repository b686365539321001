"""The emulator's own API, on a port of the loopback interface: faults while the server runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from adapter_twin.emulator.answers import compact
from adapter_twin.emulator.errors import EmulatorConfigError
from adapter_twin.emulator.faults import parse_fault
from adapter_twin.emulator.http import JSON

if TYPE_CHECKING:
    from adapter_twin.emulator.http import Exchange, Request
    from adapter_twin.emulator.server import Emulator


class AdminApi:
    """`GET /state`; `GET`, `PUT` and `DELETE /faults`, a JSON list of what `--fault` takes."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def __call__(self, request: Request, exchange: Exchange) -> None:
        """Answer a request."""
        match request.method, request.path:
            case "GET", "/state":
                exchange.respond(200, compact(self._emulator.state()), JSON)
            case "GET", "/faults":
                self._tell(exchange)
            case "PUT", "/faults":
                self._set(request, exchange)
            case "DELETE", "/faults":
                self._emulator.apply_faults(())
                self._tell(exchange)
            case _:
                exchange.respond(404, compact({"error": "GET /state, or GET, PUT, DELETE /faults"}), JSON)

    def _set(self, request: Request, exchange: Exchange) -> None:
        try:
            texts = json.loads(request.body)
            faults = tuple(parse_fault(str(text)) for text in texts)
        except (ValueError, TypeError):
            problem = 'the body must be a JSON list such as ["slow-load=5@tenant-*"]'
            exchange.respond(400, compact({"error": problem}), JSON)
        except EmulatorConfigError as error:
            exchange.respond(400, compact({"error": str(error)}), JSON)
        else:
            self._emulator.apply_faults(faults)
            self._tell(exchange)

    def _tell(self, exchange: Exchange) -> None:
        exchange.respond(200, compact([str(fault) for fault in self._emulator.faults.active]), JSON)
