"""Between what the loop observes and desires, and the moves of adapters. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace

from adapter_operator.reconcile.moves import Adapters, Holder, Moves, Situation, Unrouted
from adapter_operator.reconcile.values import Desired, DesiredPool, Observed
from adapter_predictor.plan import Plan, replica_name

PASSING_SHARE = 1.0
"""Told for adapters that a replica only holds for now."""


def situation_of(
    observed: Observed,
    desired: Desired,
    holders: Mapping[str, Holder],
    unrouted: Unrouted,
    now_s: float,
) -> Situation:
    """What the next moves depend on."""
    adapters = desired.deployment.spec.adapters
    known = {adapter.name for adapter in adapters}
    shares = desired.record.plan.shares
    return Situation(
        wanted={name: frozenset(shares[name]) for name in shares if name in known},
        holders=holders,
        leaving=frozenset(_leaving(observed, desired)) & holders.keys(),
        routed=observed.routes,
        published=_published(observed),
        ranks={adapter.name: adapter.rank for adapter in adapters},
        copies={adapter.name: adapter.min_replicas for adapter in adapters},
        unrouted=unrouted,
        now_s=now_s,
    )


def with_moves(desired: Desired, situation: Situation, moves: Moves) -> Desired:
    """What should exist, with what each replica shall hold, and with replicas that are still needed."""
    needed = situation.leaving - moves.may_go
    counts = {pool.pool.name: pool.replicas for pool in desired.pools} | dict(desired.outgoing)
    for name in sorted(needed):
        pool, ordinal = _split(name)
        counts[pool] = max(counts.get(pool, 0), ordinal + 1)
    planned, plan = {pool.pool.name for pool in desired.pools}, desired.record.plan
    outgoing = {pool: count for pool, count in counts.items() if pool not in planned}
    return replace(
        desired,
        pools=tuple(_pool(pool, counts[pool.pool.name], plan, moves) for pool in desired.pools),
        outgoing=outgoing,
        retired=tuple(pool for pool in desired.retired if pool not in outgoing),
        outgoing_assignments={
            pool: {
                ordinal: _shares(plan, replica_name(pool, ordinal), moves.holds)
                for ordinal in range(count)
                if replica_name(pool, ordinal) in moves.holds
            }
            for pool, count in outgoing.items()
        },
        routes=moves.routes,
    )


def _pool(pool: DesiredPool, replicas: int, plan: Plan, moves: Moves) -> DesiredPool:
    ordinals = set(pool.assignments) | {
        ordinal for ordinal in range(replicas) if replica_name(pool.pool.name, ordinal) in moves.holds
    }
    return replace(
        pool,
        replicas=replicas,
        assignments={
            ordinal: _shares(plan, replica_name(pool.pool.name, ordinal), moves.holds)
            for ordinal in sorted(ordinals)
        },
        carried={},
    )


def _shares(plan: Plan, replica: str, holds: Mapping[str, Adapters]) -> dict[str, float]:
    """The adapters of a replica; one that does not exist yet is told what the plan gives it."""
    planned = plan.assignment.get(replica, {})
    return {name: planned.get(name, PASSING_SHARE) for name in sorted(holds.get(replica, planned))}


def _leaving(observed: Observed, desired: Desired) -> list[str]:
    """Replicas beyond those that the step of the rollout keeps."""
    kept = {pool.pool.name: pool.replicas for pool in desired.pools} | dict(desired.outgoing)
    return [
        replica_name(pool.state.name, ordinal)
        for pool in observed.pools
        for ordinal in range(kept.get(pool.state.name, 0), pool.state.replicas)
    ]


def _published(observed: Observed) -> dict[str, Adapters]:
    return {
        replica_name(pool.state.name, ordinal): frozenset(_names(text))
        for pool in observed.pools
        for ordinal, text in pool.assignments.items()
    }


def _names(text: str) -> list[str]:
    """The adapters that a published assignment names."""
    return [adapter["name"] for adapter in json.loads(text)["adapters"]]


def _split(replica: str) -> tuple[str, int]:
    pool, _, ordinal = replica.rpartition("-")
    return pool, int(ordinal)
