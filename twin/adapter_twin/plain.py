"""Plain values for JSON, which knows neither arrays nor NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same value, in which arrays and tuples are lists and what is not finite is None."""
    match value:
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case float():
            return value if np.isfinite(value) else None
        case _:
            return value
