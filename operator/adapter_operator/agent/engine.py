"""The engine's own API for adapters, over localhost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout

from adapter_operator.agent.errors import AdapterError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

LOAD_TIMEOUT_S: Final = 300.0
"""A load may wait for a busy engine, and reads the weights from disk."""
QUICK_TIMEOUT_S: Final = 10.0

_OK: Final = 200
_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})
_ALREADY_LOADED: Final = "has already been loaded"
_NOT_FOUND: Final = 404


class EngineClient:
    """The engine beside the agent."""

    def __init__(self, session: ClientSession, url: str, api_key: str = "") -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def version(self) -> str:
        """The engine's version.

        Raises:
            AdapterError: it cannot be reached, or is not ready.
        """
        await self._ask("GET", "/health", timeout_s=QUICK_TIMEOUT_S)
        _, answer = await self._ask("GET", "/version", timeout_s=QUICK_TIMEOUT_S)
        return str(answer["version"]) if isinstance(answer, dict) and "version" in answer else ""

    async def held(self) -> Mapping[str, str]:
        """The adapters that it holds: by name the path that they were loaded from."""
        status, answer = await self._ask("GET", "/v1/models", timeout_s=QUICK_TIMEOUT_S)
        if status != _OK:
            raise AdapterError(Reason.ENGINE_REFUSED, f"GET /v1/models: {_message(status, answer)}")
        return {model["id"]: model["root"] for model in answer["data"] if model["parent"] is not None}

    async def load(self, name: str, path: str) -> None:
        """Load an adapter under a name; one that is loaded already is fine."""
        body = {"lora_name": name, "lora_path": path}
        status, answer = await self._ask("POST", "/v1/load_lora_adapter", body, LOAD_TIMEOUT_S)
        message = _message(status, answer)
        if status != _OK and _ALREADY_LOADED not in message:
            raise AdapterError(Reason.ENGINE_REFUSED, message)

    async def unload(self, name: str) -> None:
        """Make it forget a name, if it knows it. Requests in flight end as if it stayed."""
        body = {"lora_name": name}
        status, answer = await self._ask("POST", "/v1/unload_lora_adapter", body, LOAD_TIMEOUT_S)
        if status not in {_OK, _NOT_FOUND}:
            raise AdapterError(Reason.ENGINE_REFUSED, _message(status, answer))

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, str] | None = None,
        timeout_s: float = QUICK_TIMEOUT_S,
    ) -> tuple[int, Any]:
        """Status and content of an answer."""
        try:
            async with self._session.request(
                method,
                self._url + path,
                json=body,
                headers=self._headers,
                timeout=ClientTimeout(total=timeout_s),
            ) as response:
                text = await response.text()
                answer = (
                    await response.json() if response.content_type == "application/json" and text else text
                )
        except (ClientError, TimeoutError, OSError) as error:
            reason = str(error) or f"no answer within {timeout_s:g} s"
            raise AdapterError(Reason.ENGINE_UNREACHABLE, f"{method} {path}: {reason}") from error
        if response.status in _UNAVAILABLE:
            raise AdapterError(Reason.ENGINE_UNREACHABLE, f"{method} {path}: HTTP {response.status}")
        return response.status, answer


def _message(status: int, answer: Any) -> str:
    """What the engine says, without what only its own log explains."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        return str(error.get("message", "")).partition(", please check the stack trace")[0]
    return f"HTTP {status}: {str(answer or '')[:200]}"
