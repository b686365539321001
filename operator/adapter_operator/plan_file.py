"""Reads a plan back from what `adaptwin plan -o yaml` or `-o json` wrote."""

import json
from pathlib import Path
from typing import Any

import yaml

from adapter_predictor.errors import PlanError
from adapter_predictor.plan import Plan


def load_plan(path: Path) -> Plan:
    """The plan in a YAML or JSON file; of such a file only `pools` and `assignment` are read."""
    content = _parsed(path)
    if not isinstance(content, dict) or not {"pools", "assignment"} <= content.keys():
        raise PlanError(f"{path}: has no pools and assignment; expected what `adaptwin plan -o yaml` writes")
    plan = {"pools": content["pools"], "assignment": content["assignment"]}
    return Plan.from_json(json.dumps(plan, default=str))


def _parsed(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise PlanError(f"{path}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        raise PlanError(f"{path}: is neither YAML nor JSON") from error
