"""What all models of the custom resource share: strictness, rules over several fields, keyed lists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

RULE_ERROR: Final = "rule"
"""Type of the errors that rules and keyed lists raise; their context holds `at`, the path below the model."""


@dataclass(frozen=True)
class Rule:
    """A rule that schema keywords cannot say; the custom resource states it in CEL with the same message.

    Attributes:
        message: what is allowed, word for word as in the custom resource.
        fault: gives the path of the field at fault below the model ("" for the model itself), or None.
    """

    message: str
    fault: Callable[[Any], str | None]


def unless(holds: Callable[[Any], bool], at: str = "") -> Callable[[Any], str | None]:
    """A rule's `fault` for rules that have one place at fault."""
    return lambda model: None if holds(model) else at


class ApiModel(BaseModel):
    """Base of the models: camelCase on the wire, frozen, and an error for every unknown field."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, strict=True, serialize_by_alias=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Adds the rules' messages, as the custom resource's schema has them."""
        described = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            described["x-kubernetes-validations"] = [{"message": rule.message} for rule in cls.rules]
        return described

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.rules:
            at = rule.fault(self)
            if at is not None:
                raise PydanticCustomError(RULE_ERROR, "{message}", {"message": rule.message, "at": at})
        return self


@dataclass(frozen=True)
class KeyedBy:
    """Makes a list a map: its items are told apart by one field, as the API server does."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks after the items themselves are valid."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the custom resource's schema says of such a list."""
        return handler(schema) | {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [to_camel(self.key)],
        }

    def _check(self, items: Sequence[Any]) -> Sequence[Any]:
        first: dict[Any, int] = {}
        for index, item in enumerate(items):
            value = getattr(item, self.key)
            if value in first:
                _raise_duplicate(value, f"[{index}].{to_camel(self.key)}", first[value])
            first[value] = index
        return items


@dataclass(frozen=True)
class NoDuplicates:
    """Makes a list of plain values a set."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks after the items themselves are valid."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What the custom resource's schema says of such a list."""
        return handler(schema) | {"x-kubernetes-list-type": "set"}

    def _check(self, items: Sequence[Any]) -> Sequence[Any]:
        for index, item in enumerate(items):
            if item in items[:index]:
                _raise_duplicate(item, f"[{index}]", items.index(item))
        return items


def _raise_duplicate(value: Any, at: str, first: int) -> None:
    message = f'"{value}" is listed already, at index {first}; each may be listed once'
    raise PydanticCustomError(RULE_ERROR, "{message}", {"message": message, "at": at})
