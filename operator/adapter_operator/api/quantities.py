"""How the custom resource writes numbers: quantities and durations as text, turned into plain numbers here.

Kubernetes objects hold no floats. A rate is `"0.4"`, `"400m"` or `"6250u"`, a duration `"90s"` or `"1h30m"`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

QUANTITY_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,9})?[numk]?$"
DURATION_PATTERN: Final = r"^([0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h))+$"
RESOURCE_PATTERN: Final = r"^[0-9]{1,12}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_MAX_QUANTITY_LENGTH: Final = 20
_MAX_DURATION_LENGTH: Final = 16

_QUANTITY_SCALE: Final[Mapping[str, Decimal]] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(1000),
}
_DURATION_SCALE_S: Final[Mapping[str, Decimal]] = {
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ms|s|m|h)")


def parse_quantity(text: str | int) -> float:
    """The plain number that a quantity stands for: `"400m"` is 0.4."""
    written = str(text)
    number = written.rstrip("numk")
    return float(Decimal(number) * _QUANTITY_SCALE[written[len(number) :]])


def parse_duration_s(text: str) -> float:
    """The seconds that a duration stands for: `"1h30m"` is 5400."""
    parts = _DURATION_PART.findall(text)
    return float(sum((Decimal(number) * _DURATION_SCALE_S[unit] for number, unit in parts), Decimal(0)))


def format_quantity(value: float) -> str:
    """A quantity of at most three significant steps below one, without a float: 0.4 is `"400m"`."""
    for suffix, steps in (("", 1), ("m", 1_000), ("u", 1_000_000)):
        scaled = value * steps
        if abs(scaled - round(scaled)) < 1e-9 * max(1.0, scaled):
            return f"{round(scaled)}{suffix}"
    return f"{round(value * 1e9)}n"


def format_duration(seconds: float) -> str:
    """A duration of whole milliseconds as text: 0.032 is `"32ms"`, 5400 is `"1h30m"`."""
    milliseconds = round(seconds * 1000)
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    hours, rest = divmod(milliseconds // 1000, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{amount}{unit}" for amount, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if amount]
    return "".join(parts) or "0s"


@dataclass(frozen=True)
class QuantityText:
    """A quantity, written as text or as a whole number, within bounds given as quantities."""

    low: str
    high: str
    low_allowed: bool = True

    @property
    def rule(self) -> str:
        """The rule as the schema states it, word for word."""
        return f"must be {'at least' if self.low_allowed else 'above'} {self.low} and at most {self.high}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Replaces the union of text and number, whose errors would name both."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the custom resource's schema says of such a field."""
        return int_or_string_schema(QUANTITY_PATTERN) | {"x-kubernetes-validations": [{"message": self.rule}]}

    def _check(self, value: Any) -> str | int:
        if not is_quantity(value, QUANTITY_PATTERN) or not self._within(parse_quantity(value)):
            message = '{value} is not allowed: {rule}, written like "0.4", "400m" or 3{hint}'
            quoted = isinstance(value, float) and value >= 0
            hint = f' (decimal numbers go in quotes: "{value}")' if quoted else ""
            context = {"value": json.dumps(value, default=str), "rule": self.rule, "hint": hint}
            raise PydanticCustomError("quantity", message, context)
        return value  # type: ignore[no-any-return]

    def _within(self, number: float) -> bool:
        low = parse_quantity(self.low)
        return (number > low or (self.low_allowed and number == low)) and number <= parse_quantity(self.high)


@dataclass(frozen=True)
class ResourceText:
    """A quantity of CPU, memory or storage, handed on to the pod as it is written."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Replaces the union of text and number, whose errors would name both."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the custom resource's schema says of such a field."""
        return int_or_string_schema(RESOURCE_PATTERN) | {"minimum": 0}

    def _check(self, value: Any) -> str | int:
        if not is_quantity(value, RESOURCE_PATTERN):
            message = '{value} is not allowed: must be a quantity such as "500m", 4 or "64Gi"'
            raise PydanticCustomError("quantity", message, {"value": json.dumps(value, default=str)})
        return value  # type: ignore[no-any-return]


def is_quantity(value: Any, pattern: str) -> bool:
    """Whether a value is a whole number or a text of the pattern (a bool is neither)."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    text = str(value)
    return len(text) <= _MAX_QUANTITY_LENGTH and re.search(pattern, text) is not None


def int_or_string_schema(pattern: str) -> JsonSchemaValue:
    """The schema of a quantity."""
    return {"x-kubernetes-int-or-string": True, "pattern": pattern, "maxLength": _MAX_QUANTITY_LENGTH}


@dataclass(frozen=True)
class DurationText:
    """A duration as text within bounds given as durations."""

    low: str
    high: str

    @property
    def rule(self) -> str:
        """The rule as the schema states it, word for word."""
        return f"must be a duration from {self.low} to {self.high}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A text with one check, so that each fault gives one sentence."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the custom resource's schema says of such a field."""
        return {
            "type": "string",
            "pattern": DURATION_PATTERN,
            "maxLength": _MAX_DURATION_LENGTH,
            "x-kubernetes-validations": [{"message": self.rule}],
        }

    def _check(self, value: Any) -> str:
        written = isinstance(value, str) and len(value) <= _MAX_DURATION_LENGTH
        if written and re.search(DURATION_PATTERN, value):
            low, high = parse_duration_s(self.low), parse_duration_s(self.high)
            if low <= parse_duration_s(value) <= high:
                return str(value)
        message = '{value} is not allowed: {rule}, written like "50ms", "90s" or "1h30m"'
        raise PydanticCustomError(
            "duration", message, {"value": json.dumps(value, default=str), "rule": self.rule}
        )


RequestRate = Annotated[str | int, QuantityText("0", "100k")]
"""Requests per second."""

ResourceQuantity = Annotated[str | int, ResourceText()]
"""CPU, memory or storage of a container."""
