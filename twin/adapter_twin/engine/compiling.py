"""How the engine's functions are compiled."""

from __future__ import annotations

from typing import Any, Final

from numba import njit

OPTIONS: Final[dict[str, Any]] = {"nogil": True, "_nrt": False}
"""Without the interpreter's lock, and without reference counts: the functions allocate nothing, and
atomic operations at every use of an array would take most of the time."""

kernel = njit(**OPTIONS)
"""Compiles a function into whichever compiled function calls it."""
