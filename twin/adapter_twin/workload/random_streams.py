"""Named random streams from one seed: a new consumer never shifts the draws of the others."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.uint32]

_POOL: Final = 4
"""Words of a seed sequence's pool."""
_SEED_BITS: Final = 32 * _POOL
_FULL: Final = (1 << 128) - 1
_MULTIPLIER: Final = 0x2360ED051FC65DA44385DF649FCCF645
"""Of PCG64."""


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator named by `names`; the same seed and names give the same draws on every machine."""
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(int(word) for word in _key(names)))
    return np.random.Generator(np.random.PCG64(sequence))


def streams(seed: int, kind: str, names: Sequence[str]) -> Iterator[np.random.Generator]:
    """What `stream(seed, kind, name)` draws for each name, several times as fast.

    It is one generator, set anew for each name: draw what a name needs before taking the next.
    """
    if seed.bit_length() > _SEED_BITS:
        yield from (stream(seed, kind, name) for name in names)
        return
    keys = np.array([_key((kind, name)) for name in names], dtype=np.uint32).reshape(-1, _POOL)
    random = np.random.Generator(np.random.PCG64(0))
    for state, increment in _pcg64_states(_hashed(seed, keys)):
        random.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": increment},
            "has_uint32": 0,
            "uinteger": 0,
        }
        yield random


def _key(names: tuple[str | int, ...]) -> Words:
    text = "\x1f".join(str(name) for name in names).encode()
    return np.frombuffer(blake2b(text, digest_size=16).digest(), dtype="<u4")


class _Hash:
    """The hash of numpy's seed sequences, over many streams at once; its constant moves with every use."""

    def __init__(self, start: int, multiplier: int) -> None:
        self._constant, self._multiplier = start, multiplier

    def __call__(self, value: Words) -> Words:
        value = value ^ np.uint32(self._constant)
        self._constant = self._constant * self._multiplier & 0xFFFFFFFF
        value = value * np.uint32(self._constant)
        return value ^ (value >> np.uint32(16))


def _mixed(left: Words, right: Words) -> Words:
    result: Words = np.uint32(0xCA01F9DD) * left - np.uint32(0x4973F715) * right
    return result ^ (result >> np.uint32(16))


def _hashed(seed: int, keys: Words) -> NDArray[np.uint64]:
    """`SeedSequence(seed, spawn_key=key).generate_state(4, uint64)` for each row of `keys`, shape (n, 4)."""
    spread = _Hash(0x43B0D7E5, 0x931E8875)
    words = [np.full(len(keys), seed >> 32 * i & 0xFFFFFFFF, dtype=np.uint32) for i in range(_POOL)]
    pool = [spread(word) for word in words]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = _mixed(pool[target], spread(pool[source]))
    for word in keys.T:
        pool = [_mixed(part, spread(word)) for part in pool]
    draw = _Hash(0x8B51F9DD, 0x58F38DED)
    drawn = np.stack([draw(pool[i % _POOL]) for i in range(2 * _POOL)], axis=1)
    return np.ascontiguousarray(drawn.astype("<u4")).view("<u8").astype(np.uint64)


def _pcg64_states(seeds: NDArray[np.uint64]) -> Iterator[tuple[Any, Any]]:
    """State and increment of the PCG64 that each row of words seeds."""
    for high, low, sequence_high, sequence_low in seeds.tolist():
        increment = ((sequence_high << 64 | sequence_low) << 1 | 1) & _FULL
        started = increment + (high << 64 | low) & _FULL
        yield (started * _MULTIPLIER + increment) & _FULL, increment
