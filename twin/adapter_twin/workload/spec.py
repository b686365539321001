"""Arrival processes and lengths in one word each, as options say them: `gamma:cv=2`, `fixed:tokens=250`."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from adapter_twin.errors import WorkloadError
from adapter_twin.workload.document import ArrivalsDocument, LengthsDocument

_LIST_SEPARATOR: Final = "/"
_ARRIVALS: Final[TypeAdapter[Any]] = TypeAdapter(ArrivalsDocument)
_LENGTHS: Final[TypeAdapter[Any]] = TypeAdapter(LengthsDocument)


def arrivals_of(option: str, text: str) -> ArrivalsDocument:
    """The process that a text such as `poisson` or `on_off:on_s=60,off_s=240` means.

    Raises:
        WorkloadError: it means none; names the option.
    """
    process: ArrivalsDocument = _checked(_ARRIVALS, "process", option, text)
    return process


def lengths_of(option: str, text: str) -> LengthsDocument:
    """The distribution that a text such as `lognormal:mean=200,sigma=1,maximum=2048` means.

    Raises:
        WorkloadError: it means none; names the option.
    """
    distribution: LengthsDocument = _checked(_LENGTHS, "distribution", option, text)
    return distribution


def _checked(kinds: TypeAdapter[Any], tag: str, option: str, text: str) -> Any:
    kind, _, rest = text.partition(":")
    fields: dict[str, Any] = {tag: kind.strip().replace("-", "_")}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise WorkloadError(f"{option}: {part!r} in {text!r} is not of the form name=value")
        fields[name.strip()] = value.split(_LIST_SEPARATOR) if name.strip() == "values" else value
    try:
        document = kinds.validate_python(fields)
        document.build()  # also refuses values out of range
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or kind
        raise WorkloadError(f"{option}: {field}: {first['msg']}") from error
    except WorkloadError as error:
        raise WorkloadError(f"{option}: {error}") from error
    return document
