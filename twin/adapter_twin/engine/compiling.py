"""How the engine's functions are compiled."""

from __future__ import annotations

from typing import Any, Final

from numba import njit

OPTIONS: Final[dict[str, Any]] = {"nogil": True, "_nrt": False}
"""Without the interpreter's lock, and without reference counts: the functions allocate nothing, and
atomic operations at every use of an array would take most of the time."""

_INLINED: Final[dict[str, Any]] = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Always part of the caller: the engine's forty arrays would be copied to the stack for every call. And
without an entry of its own for Python, which would double the time that compilation takes."""

kernel = njit(**_INLINED, **OPTIONS)
"""Compiles a function into whichever compiled function calls it."""
