"""Doubly linked lists in one integer array: O(1) at both ends and in the middle, no allocation.

`links[x]` is (next, previous) of item x; the lists' sentinels are items too, so several lists share one array
as long as an item is in at most one of them. An item outside every list has next = NOWHERE.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from adapter_twin.engine.compiling import kernel

NOWHERE = -1
_NEXT, _PREVIOUS = 0, 1

Links = NDArray[np.int32]


def empty_lists(items: int, lists: int) -> Links:
    """Links of `items` items and of `lists` empty lists, whose sentinels are items, items + 1, ….

    Returns:
        Shape (items + lists, 2).
    """
    links = np.full((items + lists, 2), NOWHERE, dtype=np.int32)
    links[items:] = np.arange(items, items + lists, dtype=np.int32)[:, None]
    return links


@kernel
def following(links: Links, item: int) -> int:
    """The item behind `item`; of a sentinel: the first of its list, itself if that is empty."""
    return int(links[item, _NEXT])


@kernel
def last(links: Links, sentinel: int) -> int:
    """The last item of a list, its sentinel if it is empty."""
    return int(links[sentinel, _PREVIOUS])


@kernel
def preceding(links: Links, item: int) -> int:
    """The item before `item`; of a sentinel: the last of its list, itself if that is empty."""
    return int(links[item, _PREVIOUS])


@kernel
def linked(links: Links, item: int) -> bool:
    """Whether `item` is in a list."""
    return bool(links[item, _NEXT] != NOWHERE)


@kernel
def insert_before(links: Links, place: int, item: int) -> None:
    """Add `item` before an item or at the end of a list, before its sentinel."""
    before = links[place, _PREVIOUS]
    links[item, _PREVIOUS] = before
    links[item, _NEXT] = place
    links[before, _NEXT] = item
    links[place, _PREVIOUS] = item


@kernel
def append(links: Links, sentinel: int, item: int) -> None:
    """Add `item` at the end of a list."""
    insert_before(links, sentinel, item)


@kernel
def prepend(links: Links, sentinel: int, item: int) -> None:
    """Add `item` at the front of a list."""
    insert_before(links, links[sentinel, _NEXT], item)


@kernel
def remove(links: Links, item: int) -> None:
    """Take `item` out of the list that it is in."""
    before, after = links[item, _PREVIOUS], links[item, _NEXT]
    links[before, _NEXT] = after
    links[after, _PREVIOUS] = before
    links[item, _NEXT] = NOWHERE


def items(links: Links, sentinel: int) -> Iterator[int]:
    """All items of a list, in order."""
    item = int(links[sentinel, _NEXT])
    while item != sentinel:
        yield item
        item = int(links[item, _NEXT])
