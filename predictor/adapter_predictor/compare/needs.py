"""How many replicas it takes: strides away from a guess, then bisection."""

from collections.abc import Callable
from functools import cache

Does = Callable[[int], bool]
"""Whether so many replicas do."""


def fewest(does: Does, guess: int, most: int) -> int | None:
    """The fewest replicas that do, where more never do worse; None where not even the most do.

    Nothing is asked twice.
    """
    does = cache(does)
    if does(guess):
        low, high = _below(does, guess)
    else:
        low, high = _above(does, guess, most)
    while high is not None and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if does(middle) else (middle, high)
    return high


def _above(does: Does, failed: int, most: int) -> tuple[int, int | None]:
    """The last number that failed and the first that did, going up."""
    low, stride = failed, 1
    while low < most:
        tried = min(most, low + stride)
        if does(tried):
            return low, tried
        low, stride = tried, 2 * stride
    return low, None


def _below(does: Does, served: int) -> tuple[int, int | None]:
    """The last number that failed and the first that did, going down."""
    high, stride = served, 1
    while high > 1:
        tried = max(1, high - stride)
        if not does(tried):
            return tried, high
        high, stride = tried, 2 * stride
    return 0, high
