"""Before the first request: is the server there, does it take the key, and which models does it have?"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from adapter_operator.load.connections import ConnectionPool
from adapter_operator.load.errors import LoadError
from adapter_operator.load.sending import connection_failure

if TYPE_CHECKING:
    from adapter_operator.load.target import Target

ANSWER_S: Final = 10.0


class _Models:
    """Takes the answer."""

    def __init__(self) -> None:
        self._status = 0
        self._body = b""
        self.answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def status(self, status: int) -> None:
        self._status = status

    def body(self, data: bytes, now_s: float) -> None:
        del now_s
        self._body += data

    def end(self, now_s: float) -> None:
        del now_s
        if not self.answered.done():
            self.answered.set_result((self._status, self._body))

    def broken(self, reason: str, now_s: float) -> None:
        del now_s
        if not self.answered.done():
            self.answered.set_exception(ConnectionError(reason))


async def served_models(target: Target) -> frozenset[str] | None:
    """Names of the models that the server lists; None if it lists none.

    Raises:
        LoadError: it cannot be reached, or refuses the key.
    """
    loop = asyncio.get_running_loop()
    pool = ConnectionPool(target, loop.time)
    models = _Models()
    try:
        connection = await pool.connect()
        connection.ask(target.models_request(), models)
        async with asyncio.timeout(ANSWER_S):
            status, body = await models.answered
    except TimeoutError as error:
        raise LoadError(f"--url: {target.url} does not answer") from error
    except OSError as error:
        said = (
            str(error)
            if isinstance(error, ConnectionError) and not error.errno
            else connection_failure(error)
        )
        raise LoadError(f"--url: {target.url}, {said}") from error
    finally:
        pool.close()
        await asyncio.sleep(0)
    if status in {401, 403}:
        raise LoadError(f"--api-key: {target.url} answers {status}, it takes requests with its own key only")
    return _names(body) if status == 200 else None


def _names(body: bytes) -> frozenset[str] | None:
    try:
        return frozenset(str(model["id"]) for model in json.loads(body)["data"])
    except (ValueError, TypeError, KeyError):
        return None
