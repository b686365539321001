"""The corpus: objects on which the models and the API server must agree, made from a base and its changes."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One object of the corpus.

    Attributes:
        why: What the case is about.
        item: The object.
        fault: All that the models say of it; empty where the object is valid.
    """

    why: str
    item: dict[str, Any]
    fault: str


def valid() -> list[Case]:
    """The objects that are accepted."""
    return list(_cases("valid.yaml"))


def invalid() -> list[Case]:
    """The objects that are rejected, each for one reason."""
    return list(_cases("invalid.yaml"))


def _cases(name: str) -> Iterator[Case]:
    base = yaml.safe_load((HERE / "base.yaml").read_text())
    for case in yaml.safe_load((HERE / name).read_text()):
        item = copy.deepcopy(base)
        for path, value in case.get("set", {}).items():
            parent, key = _place(item, path)
            parent[key] = value
        for path in case.get("unset", []):
            parent, key = _place(item, path)
            del parent[key]
        yield Case(case["why"], item, case.get("fault", ""))


def _place(item: Any, path: str) -> tuple[Any, Any]:
    """What holds the value at a path, and its key there."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in parents:
        item = item[part]
    return item, last
