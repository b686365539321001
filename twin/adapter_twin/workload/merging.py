"""Merging sorted streams with a tournament tree: one comparison a level, whatever the order."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def tournament(keys):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Winner and losers of a tournament for the smallest key.

    Args:
        keys: float64, one per player, padded with infinity to a power of two.

    Returns:
        The winner, and the loser of the match at every inner node, shape as `keys`.
    """
    leaves = keys.shape[0]
    winners = np.empty(2 * leaves, np.int32)
    losers = np.empty(leaves, np.int32)
    for player in range(leaves):
        winners[leaves + player] = player
    for node in range(leaves - 1, 0, -1):
        left, right = winners[2 * node], winners[2 * node + 1]
        first = keys[left] <= keys[right]
        winners[node] = left if first else right
        losers[node] = right if first else left
    return winners[1], losers


@njit(cache=True, nogil=True, inline="always")
def replay(keys, losers, player):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The new winner after the old one's key has grown, in conditional moves: outcomes are random."""
    node = (player + keys.shape[0]) >> 1
    key = keys[player]
    while node > 0:
        rival = losers[node]
        other = keys[rival]
        beaten = other < key
        losers[node] = player if beaten else rival
        player = rival if beaten else player
        key = other if beaten else key
        node >>= 1
    return player


@njit(cache=True, nogil=True)
def padded(keys):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Keys for a tournament: filled up with infinity to a power of two."""
    leaves = 1
    while leaves < keys.shape[0]:
        leaves *= 2
    full = np.full(leaves, np.inf)
    full[: keys.shape[0]] = keys
    return full


@njit(cache=True, nogil=True)
def merged_order(times, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The order that sorts streams laid one after the other, each sorted in itself.

    Args:
        times: float64, all streams.
        ends: int64, where each stream ends.

    Returns:
        Indices into `times`, and the stream of each, in the order of time.
    """
    streams = ends.shape[0]
    order = np.empty(times.shape[0], np.int64)
    owner = np.empty(times.shape[0], np.int32)
    place = np.empty(streams, np.int64)
    heads = np.full(streams, np.inf)
    for i in range(streams):
        place[i] = 0 if i == 0 else ends[i - 1]
        if place[i] < ends[i]:
            heads[i] = times[place[i]]
    keys = padded(heads)
    winner, losers = tournament(keys)
    for count in range(times.shape[0]):
        order[count] = place[winner]
        owner[count] = winner
        place[winner] += 1
        keys[winner] = times[place[winner]] if place[winner] < ends[winner] else np.inf
        winner = replay(keys, losers, winner)
    return order, owner
