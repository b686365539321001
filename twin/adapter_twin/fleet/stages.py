"""From one fleet to another within a surge of GPUs: the fleets in between. Pure.

A rollout is a sequence of fleets, each reached from the one before by the same safe move (start and load what
is new, confirm, route, drain, let go), in which both fleets exist together. So the whole difficulty of a
rollout, which is that there may not be GPUs for both at once, is in choosing the sequence:

- While GPUs are free, missing replicas are started. An adapter all of whose new copies exist is served as the
  target says; of one that still lacks some, the missing share stays where it is.
- Where no GPU is free, replicas that the target does not want are emptied, highest ordinals first, as many at
  once as the surge (at least one): their adapters move to the other copies or to the least loaded replicas.
- The last stage is the target itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapter_twin.errors import WorkloadError
from adapter_twin.fleet.model import Fleet, FleetReplica

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from adapter_twin.fleet.model import Rollout
    from adapter_twin.workload.model import Adapter


def rollout_stages(before: Fleet, rollout: Rollout, adapters: Sequence[Adapter]) -> tuple[Fleet, ...]:
    """The fleets after `before`, one after another; the last is the rollout's target.

    Any two neighbours together have at most as many replicas as the larger of the two fleets and the surge.

    Raises:
        WorkloadError: a replica of both fleets has different engine arguments in them.
    """
    _require_same_engines(before, rollout.to)
    planner = _Planner(rollout, {a.name: a for a in adapters}, _copies_to_keep(before, rollout))
    ceiling = max(len(before.replicas), len(rollout.to.replicas)) + rollout.surge_replicas
    stages = [before]
    while stages[-1] != rollout.to:
        present = stages[-1]
        missing = [r for r in rollout.to.replicas if r.name not in present.by_name]
        room = ceiling - len(present.replicas)
        if len(missing) <= room:
            stages.append(rollout.to)
        elif room > 0:
            stages.append(planner.grown(present, missing[:room]))
        else:
            stages.append(planner.emptied(present, missing))
    return tuple(stages[1:])


def _require_same_engines(before: Fleet, after: Fleet) -> None:
    for name, replica in after.by_name.items():
        if name in before.by_name and before.by_name[name].config != replica.config:
            raise WorkloadError(
                f"replica {name}: its engine arguments differ between the two fleets; "
                "a replica with others is another one and has another name"
            )


def _copies_to_keep(before: Fleet, rollout: Rollout) -> dict[str, int]:
    """What the rollout demands; otherwise the smaller number of the two fleets."""
    common = before.holders.keys() & rollout.to.holders.keys()
    default = {name: min(before.copies(name), rollout.to.copies(name)) for name in common}
    return default | dict(rollout.min_copies)


@dataclass
class _Planner:
    rollout: Rollout
    adapters: Mapping[str, Adapter]
    keep: Mapping[str, int]
    target: Mapping[str, Mapping[str, float]] = field(init=False)

    def __post_init__(self) -> None:
        self.target = self.rollout.to.holders

    def grown(self, present: Fleet, starting: Iterable[FleetReplica]) -> Fleet:
        """With more of the target's replicas."""
        replicas = (*present.replicas, *starting)
        names = {replica.name for replica in replicas}
        served = {**present.holders, **self.target}
        holders = {
            adapter: self._towards_target(adapter, present.holders.get(adapter, {}), names)
            for adapter in served
        }
        return _fleet(replicas, holders)

    def _towards_target(
        self, adapter: str, present: Mapping[str, float], names: Collection[str]
    ) -> dict[str, float]:
        """The target's shares where its replicas exist; the rest stays on the copies there are."""
        target = self.target.get(adapter, {})
        new = {name: share for name, share in target.items() if name in names}
        if target and len(new) == len(target):
            return new
        old = {name: share for name, share in present.items() if name not in new}
        if not target:
            return old
        if not old:
            return _scaled(new, sum(target.values()))
        return new | _scaled(old, sum(target.values()) - sum(new.values()))

    def emptied(self, present: Fleet, missing: Sequence[FleetReplica]) -> Fleet:
        """Without some replicas that the target does not want, whose adapters move away first."""
        surplus = [r for r in present.replicas if r.name not in self.rollout.to.by_name]
        batch = min(max(1, self.rollout.surge_replicas), len(missing))
        leaving = {replica.name for replica in _highest_ordinals_first(surplus)[:batch]}
        staying = tuple(replica for replica in present.replicas if replica.name not in leaving)
        holders = {name: dict(own) for name, own in present.holders.items()}
        load = self._loads(present)
        for adapter in sorted(holders, key=lambda name: (-self._rate(name), name)):
            if holders[adapter].keys() & leaving:
                holders[adapter] = self._moved_away(adapter, holders[adapter], leaving, staying, load)
        return _fleet(staying, holders)

    def _moved_away(
        self,
        adapter: str,
        present: Mapping[str, float],
        leaving: Collection[str],
        staying: Sequence[FleetReplica],
        load: dict[str, float],
    ) -> dict[str, float]:
        """One adapter's shares without the leaving replicas; the loads are brought up to date."""
        total = sum(present.values())
        rest = {name: share for name, share in present.items() if name not in leaving}
        wanted = max(1, self.keep.get(adapter, 1)) - len(rest)
        fresh = self._least_loaded(adapter, staying, rest, load)[: max(0, wanted)]
        moving = total - sum(rest.values())
        shares = rest | dict.fromkeys(fresh, moving / len(fresh)) if fresh else _scaled(rest, total)
        for name, share in shares.items():
            load[name] += self._rate(adapter) * (share - present.get(name, 0.0))
        return shares

    def _least_loaded(
        self,
        adapter: str,
        staying: Sequence[FleetReplica],
        holding: Collection[str],
        load: Mapping[str, float],
    ) -> list[str]:
        """Replicas that could take a copy, the least loaded first."""
        rank = self.adapters[adapter].rank
        fitting = [
            replica.name
            for replica in staying
            if replica.name not in holding and replica.config.max_lora_rank >= rank
        ]
        return sorted(fitting, key=lambda name: (load[name], name))

    def _loads(self, fleet: Fleet) -> dict[str, float]:
        """Requests per second of each replica."""
        return {
            replica.name: sum(share * self._rate(name) for name, share in replica.shares)
            for replica in fleet.replicas
        }

    def _rate(self, adapter: str) -> float:
        return self.adapters[adapter].rate


def _highest_ordinals_first(replicas: Iterable[FleetReplica]) -> list[FleetReplica]:
    """A pool can only lose its last replica; the pools in the order of their names."""
    return sorted(replicas, key=lambda replica: (replica.pool, -replica.ordinal))


def _scaled(shares: Mapping[str, float], total: float) -> dict[str, float]:
    present = sum(shares.values())
    return {name: share * total / present for name, share in shares.items()}


def _fleet(replicas: Sequence[FleetReplica], holders: Mapping[str, Mapping[str, float]]) -> Fleet:
    by_replica: dict[str, list[tuple[str, float]]] = {replica.name: [] for replica in replicas}
    for adapter in sorted(holders):
        for name, share in holders[adapter].items():
            by_replica[name].append((adapter, share))
    return Fleet(tuple(FleetReplica(r.name, r.config, tuple(by_replica[r.name])) for r in replicas))
