"""Step functions of normal scores, looked up in constant time by a guide over equal cells."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

GUIDE_REACH: Final = 6.0
"""The cells lie between minus and plus this score; the outermost reach further."""
GUIDE_CELLS: Final = 4096


@njit(cache=True, nogil=True)
def look_up(cuts, values, guide, scores):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The value at each score.

    Args:
        cuts: where the next value begins, ascending, shape (values - 1,).
        values: one more than there are cuts.
        guide: index of the value at the left edge of each cell, shape (GUIDE_CELLS,).
        scores: any.
    """
    found = np.empty(scores.shape[0], values.dtype)
    cells = GUIDE_CELLS / (2.0 * GUIDE_REACH)
    for i in range(scores.shape[0]):
        score = scores[i]
        cell = int(min(max((score + GUIDE_REACH) * cells, 0.0), GUIDE_CELLS - 1.0))
        place = guide[cell]
        while place < cuts.shape[0] and cuts[place] <= score:
            place += 1
        found[i] = values[place]
    return found
