"""From the pools that are there to the pools that should be: the next safe step. Pure.

Make before break: replicas that the plan no longer wants (the surplus) stay until every wanted replica is
ready, as long as the GPUs suffice for both. Where they do not, the surplus goes bit by bit, each time only as
much as the next wanted replicas need, and only while everything that was created so far is ready.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PoolTarget:
    """A pool that the plan wants.

    Attributes:
        name: The pool's name.
        replicas: How many replicas the plan gives it.
    """

    name: str
    replicas: int


@dataclass(frozen=True)
class PoolState:
    """A pool that exists.

    Attributes:
        name: The pool's name.
        replicas: How many replicas it was told to have.
        pods: How many pods it really has, those that are terminating included.
        ready: How many of them are ready.
        ready_ordinals: Which of them are; the lowest where None. A pool that shrinks loses its highest ones,
            whether or not the lower ones are ready.
    """

    name: str
    replicas: int
    pods: int
    ready: int
    ready_ordinals: frozenset[int] | None = None

    def ready_of(self, replicas: int) -> int:
        """How many of the first so many replicas are ready."""
        if self.ready_ordinals is None:
            return min(self.ready, replicas)
        return sum(ordinal < replicas for ordinal in self.ready_ordinals)

    @property
    def occupied(self) -> int:
        """Replicas that hold, or may take at any moment, a replica's GPUs."""
        return max(self.replicas, self.pods)

    @property
    def terminating(self) -> int:
        """Replicas that are going but still hold their GPUs."""
        return max(0, self.pods - self.replicas)


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes:
        replicas: For every pool that shall exist after this step, how many replicas.
        retire: Pools to delete.
        ready: Replicas that the plan wants and that are ready.
        complete: Whether every wanted replica is ready and nothing else exists.
        message: The state of the rollout, in one sentence.
    """

    replicas: Mapping[str, int]
    retire: tuple[str, ...]
    ready: int
    complete: bool
    message: str


@dataclass(frozen=True)
class _Rollout:
    targets: Mapping[str, int]
    present: Mapping[str, PoolState]
    ceiling: int
    """Most replicas that may hold GPUs at once."""
    batch: int
    """Surplus replicas that may go at once where GPUs are short."""

    @property
    def wanted(self) -> int:
        return sum(self.targets.values())

    def kept(self, name: str) -> int:
        """Replicas of a pool that exist and that the plan wants."""
        return min(self.present[name].replicas, self.targets.get(name, 0)) if name in self.present else 0

    def surplus(self, name: str) -> int:
        return self.present[name].replicas - self.kept(name)

    def missing(self, name: str) -> int:
        return self.targets[name] - self.kept(name)

    @property
    def ready(self) -> int:
        """Wanted replicas that are ready."""
        return sum(pool.ready_of(self.kept(name)) for name, pool in self.present.items())

    @property
    def settled(self) -> bool:
        """Whether all wanted replicas that exist are ready, and none is on its way out."""
        existing = sum(self.kept(name) for name in self.present)
        return self.ready == existing and not any(p.terminating for p in self.present.values())


def next_step(
    targets: Sequence[PoolTarget],
    present: Sequence[PoolState],
    *,
    gpus_per_replica: int = 1,
    max_surge_gpus: int = 0,
    previous_replicas: int = 0,
) -> Step:
    """The next step of a rollout.

    Args:
        targets: The pools of the plan.
        present: The pools that exist.
        gpus_per_replica: GPUs of each replica.
        max_surge_gpus: GPUs that may be taken beyond what the plans before and after need; may be 0.
        previous_replicas: Replicas of the plan that was in force before.
    """
    surge = max_surge_gpus // gpus_per_replica
    rollout = _Rollout(
        targets={target.name: target.replicas for target in targets},
        present={pool.name: pool for pool in present},
        ceiling=max(sum(target.replicas for target in targets), previous_replicas) + surge,
        batch=max(1, surge),
    )
    if rollout.ready == rollout.wanted:
        return _finish(rollout)
    replicas = _grow(rollout)
    if sum(replicas.values()) > sum(pool.replicas for pool in present) or not _blocked(rollout):
        return _step(rollout, replicas)
    return _step(rollout, _make_room(rollout, replicas))


def _finish(rollout: _Rollout) -> Step:
    """Everything wanted is ready: the surplus may go."""
    retire = tuple(sorted(rollout.present.keys() - rollout.targets.keys()))
    leaving = sum(pool.occupied for pool in rollout.present.values()) - rollout.wanted
    message = f"{rollout.ready} of {rollout.wanted} replicas are ready"
    if leaving > 0:
        message += f"; {leaving} that the plan no longer needs are going"
    return Step(dict(rollout.targets), retire, rollout.ready, complete=leaving <= 0, message=message)


def _grow(rollout: _Rollout) -> dict[str, int]:
    """Add missing replicas as far as the ceiling allows; keep everything else as it is."""
    room = rollout.ceiling - sum(pool.occupied for pool in rollout.present.values())
    replicas = {name: pool.replicas for name, pool in sorted(rollout.present.items())}
    for name in sorted(rollout.targets):
        more = max(0, min(rollout.missing(name), room))
        replicas[name] = replicas.get(name, 0) + more
        room -= more
    return replicas


def _blocked(rollout: _Rollout) -> bool:
    """Whether wanted replicas are missing, and only the surplus stands in their way."""
    return rollout.settled and any(rollout.missing(name) for name in rollout.targets)


def _make_room(rollout: _Rollout, replicas: Mapping[str, int]) -> dict[str, int]:
    """Take away as much surplus as one batch of missing replicas needs, unready replicas first."""
    reduced = dict(replicas)
    missing = sum(rollout.missing(name) for name in rollout.targets)
    to_free = min(rollout.batch, missing)
    for name in sorted(rollout.present, key=lambda name: (rollout.present[name].ready, name)):
        going = min(to_free, rollout.surplus(name))
        reduced[name] -= going
        to_free -= going
    return reduced


def _step(rollout: _Rollout, replicas: Mapping[str, int]) -> Step:
    retire = tuple(
        name
        for name, n in replicas.items()
        if n == 0 and name not in rollout.targets and rollout.present[name].pods == 0
    )
    kept = {name: n for name, n in replicas.items() if name not in retire}
    message = f"{rollout.ready} of {rollout.wanted} replicas are ready"
    if surplus := sum(rollout.surplus(name) for name in rollout.present):
        message += f"; {surplus} of the plan before serve until they are"
    return Step(kept, retire, rollout.ready, complete=False, message=message)
