"""YAML as Kubernetes reads it, from anyone: no field twice, dates stay text, nothing grows without end."""

from typing import Any, Final

import yaml

from adapter_operator.errors import SpecError

_MOST_NESTED: Final = 64
_MOST_CHARACTERS: Final = 16_000_000
_VALUE_CHARACTERS: Final = 16
"""What any value counts for, beside its text."""


def read_yaml(text: str, where: str) -> list[Any]:
    """The documents of a YAML text.

    Args:
        text: the text.
        where: names the text in errors.

    Raises:
        SpecError: it is not YAML, sets a field twice, or is nested too deeply or too large once aliases are
            put in place.
    """
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise SpecError(f"{where}{line}: cannot be read as YAML: {problem}") from error
    except RecursionError as error:
        raise SpecError(f"{where}: is nested too deeply") from error
    _Measure(where).take(documents)
    return documents


class _Loader(yaml.SafeLoader):
    """The safe loader, but for what Kubernetes takes otherwise."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses what PyYAML would silently overwrite."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f'the field "{key.value}" is set twice'
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Measure:
    """Counts what a value would be with all aliases put in place, and refuses the endless."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = _MOST_CHARACTERS

    def take(self, item: Any, depth: int = 0) -> None:
        """Counts a value and all within it."""
        self._left -= _VALUE_CHARACTERS + (len(item) if isinstance(item, str) else 0)
        if self._left < 0 or depth > _MOST_NESTED:
            raise SpecError(f"{self._where}: is nested too deeply or too large")
        if isinstance(item, dict):
            for key, value in item.items():
                self.take(key, depth + 1)
                self.take(value, depth + 1)
        elif isinstance(item, list):
            for value in item:
                self.take(value, depth + 1)
