"""What the server answers instead of what was asked for."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from adapter_twin.errors import AdaptwinError

if TYPE_CHECKING:
    from collections.abc import Mapping


class EmulatorConfigError(AdaptwinError):
    """A flag that neither vLLM nor the emulator would start with."""


class ApiError(Exception):
    """An answer in OpenAI's form: status, and a body that names what is wrong."""

    def __init__(
        self, status: int, message: str, *, type_: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type_ or _TYPES[status]
        self.param = param

    def body(self) -> dict[str, Any]:
        """As vLLM words it."""
        return {
            "error": {
                "message": str(self),
                "type": self.type,
                "param": self.param,
                "code": self.status,
            }
        }


_TYPES: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "BadRequestError",
    HTTPStatus.NOT_FOUND: "NotFoundError",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalServerError",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailableError",
}


def bad_value(message: str, parameter: str, value: Any = None) -> ApiError:
    """A parameter that is out of range; `message` is a sentence without its end."""
    shown = f"(parameter={parameter})" if value is None else f"(parameter={parameter}, value={value})"
    return ApiError(HTTPStatus.BAD_REQUEST, f"{message}. {shown}", param=parameter)


def engine_dead() -> ApiError:
    """What vLLM's API server answers when its engine is gone."""
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    )
