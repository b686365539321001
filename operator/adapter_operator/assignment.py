"""What one replica shall hold: published by the operator in a ConfigMap, kept by the agent."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapter_operator.api.v1alpha1.sources import AdapterSource
from adapter_twin.errors import AdaptwinError


class AssignmentError(AdaptwinError):
    """A document that is no assignment, in one sentence that names the field."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AssignedAdapter(_Document):
    """One adapter of the replica.

    Attributes:
        name: The name by which requests ask for it.
        rank: The rank that was planned with; its files may have a smaller one.
        share: The part of its traffic that this replica is to take.
        source: Where its files come from.
    """

    name: Annotated[str, Field(min_length=1, max_length=253)]
    rank: Annotated[int, Field(ge=1)]
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    source: AdapterSource


class Assignment(_Document):
    """All adapters of one replica.

    Attributes:
        plan: Hash of the plan that it follows from.
        generation: Its number in its pool; agents never go back to a lower one.
        adapters: The adapters, each name once.
    """

    plan: str = ""
    generation: Annotated[int, Field(ge=1)]
    adapters: tuple[AssignedAdapter, ...] = ()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [adapter.name for adapter in self.adapters]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"adapters: {name} is there twice")
        return self

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            AssignmentError: naming the field that is wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "document"
            message = first["msg"].removeprefix("Value error, ")
            raise AssignmentError(f"assignment: {field}: {message}") from error

    def to_json(self) -> str:
        """Compact JSON, as the ConfigMap holds it."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
