"""How the engine's functions are compiled."""

from __future__ import annotations

from numba import njit

kernel = njit(nogil=True, _nrt=False)
"""Compiles a function that allocates nothing: without reference counts, whose atomic operations at every use
of an array would take most of the time, and most of the time to compile."""
