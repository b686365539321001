"""Turns what pydantic found into sentences for people: the field's path, what is wrong, what is allowed."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from adapter_operator.api.base import RULE_ERROR
from adapter_operator.api.text import PATTERN_WORDS

_MOST_PROBLEMS: Final = 10
_MOST_SHOWN: Final = 80
_CLOSE: Final = 0.72


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence for each thing wrong with an object of the model, at most ten and a count of the rest."""
    problems = [_sentence(detail, model) for detail in error.errors(include_url=False)]
    shown = problems[:_MOST_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"… and {len(problems) - len(shown)} more")
    return shown


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    path = (_path(detail["loc"]) + _below(detail)).removeprefix(".")
    if detail["type"] == "extra_forbidden":
        return f"{path}: {_unknown_field(str(detail['loc'][-1]), _fields_at(detail['loc'][:-1], model))}"
    words = _WORDS.get(detail["type"])
    return f"{path}: {words(detail['input'], detail.get('ctx', {})) if words else detail['msg']}"


def _path(loc: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)


def _below(detail: ErrorDetails) -> str:
    """The rest of the path, where a rule over several fields names the one at fault."""
    at = str(detail.get("ctx", {}).get("at", "")) if detail["type"] == RULE_ERROR else ""
    return at if not at or at.startswith("[") else f".{at}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _choices(expected: str) -> str:
    return expected.replace(" or ", ", ").replace("'", "")


def _pattern(value: Any, context: Mapping[str, Any]) -> str:
    words = PATTERN_WORDS.get(context["pattern"], f"must match {context['pattern']}")
    return f"{_shown(value)} {words}"


def _text(value: Any, _: Mapping[str, Any]) -> str:
    advice = "" if isinstance(value, list | dict) else "; put it in quotes"
    return f"{_shown(value)} is not a text{advice}"


_WORDS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], str]]] = {
    "missing": lambda _value, _: "is required",
    "literal_error": lambda value, context: f"{_shown(value)} is not one of {_choices(context['expected'])}",
    "string_pattern_mismatch": _pattern,
    "greater_than_equal": lambda value, context: (
        f"{_shown(value)} is below {context['ge']}, the least allowed"
    ),
    "less_than_equal": lambda value, context: f"{_shown(value)} is above {context['le']}, the most allowed",
    "too_long": lambda _value, context: f"holds too many items; at most {context['max_length']} are allowed",
    "string_too_long": lambda _value, context: (
        f"is too long; at most {context['max_length']} characters are allowed"
    ),
    "string_too_short": lambda _value, _: "may not be empty",
    "int_type": lambda value, _: f"{_shown(value)} is not a whole number",
    "int_from_float": lambda value, _: f"{_shown(value)} is not a whole number",
    "string_type": _text,
    "bool_type": lambda value, _: f"{_shown(value)} is neither true nor false",
    "tuple_type": lambda value, _: f"{_shown(value)} is not a list",
    "model_type": lambda value, _: f"{_shown(value)} is not a mapping of fields",
    "dict_type": lambda value, _: f"{_shown(value)} is not a mapping",
}


def _unknown_field(name: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=_CLOSE)
    if close:
        return f"there is no such field; did you mean {close[0]}?"
    return f"there is no such field; allowed here are {', '.join(allowed)}"


def _fields_at(loc: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    """The fields that the model at a path allows."""
    for part in loc:
        if isinstance(part, str):
            inner = {field.alias: field.annotation for field in model.model_fields.values()}[part]
            model = _model_within(inner) or model
    return sorted(field.alias or "" for field in model.model_fields.values())


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's type holds, be it optional or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_within(inner))), None)
