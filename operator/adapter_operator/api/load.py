"""Reads AdapterDeployments from files and objects; each fault becomes one sentence that names the field."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError

from adapter_operator.api.base import ApiModel, KeyedBy
from adapter_operator.api.problems import describe
from adapter_operator.api.v1alpha1 import API_VERSION, KIND, Adapter, AdapterDeployment
from adapter_operator.api.yaml_text import read_yaml
from adapter_operator.errors import SpecError


def load_adapter_deployment(source: Path | str) -> AdapterDeployment:
    """The one AdapterDeployment in a YAML or JSON file, or in a text.

    Args:
        source: a path to read, or the text itself where it is a `str`.

    Raises:
        SpecError: the file cannot be read, or holds no valid AdapterDeployment, or several.
    """
    text = _read(source) if isinstance(source, Path) else source
    where = str(source) if isinstance(source, Path) else "the text"
    found = [item for item in read_yaml(text, where) if _is_adapter_deployment(item)]
    if len(found) != 1:
        count = "no" if not found else str(len(found))
        raise SpecError(f"{where}: holds {count} {KIND} (apiVersion {API_VERSION}); exactly one is expected")
    return parse_adapter_deployment(found[0])


def parse_adapter_deployment(item: Mapping[str, Any]) -> AdapterDeployment:
    """The model of an object as the API server or a YAML file gives it.

    Raises:
        SpecError: naming each field at fault and what is allowed in it.
    """
    try:
        return AdapterDeployment.model_validate_json(_json(item))
    except ValidationError as error:
        raise SpecError(*describe(error, AdapterDeployment)) from error


def parse_adapters(text: str, where: str) -> tuple[Adapter, ...]:
    """The adapters that a ConfigMap of `spec.adaptersFrom` lists.

    Args:
        text: a YAML or JSON list in the shape of `spec.adapters`.
        where: names the ConfigMap and its key, for errors.

    Raises:
        SpecError: naming each field at fault and what is allowed in it.
    """
    documents = read_yaml(text, where)
    try:
        return _AdapterList.model_validate_json(
            _json({"adapters": documents[0] if documents else []})
        ).adapters
    except ValidationError as error:
        raise SpecError(*(f"{where}: {problem}" for problem in describe(error, _AdapterList))) from error


class _AdapterList(ApiModel):
    adapters: Annotated[tuple[Adapter, ...], KeyedBy("name")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file"
        raise SpecError(f"{path}: cannot be read: {reason}") from error


def _is_adapter_deployment(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("kind") == KIND


def _json(item: Any) -> str:
    """The object as the API server would take it."""
    return json.dumps(_without_nulls(item), default=str)


def _without_nulls(item: Any) -> Any:
    """A null is the same as nothing, as in the API server."""
    if isinstance(item, Mapping):
        return {str(key): _without_nulls(value) for key, value in item.items() if value is not None}
    if isinstance(item, list):
        return [_without_nulls(value) for value in item]
    return item
