"""Moving adapters between replicas without a gap: load → confirm → route → drain → unload. Pure.

What the plan wants, what replicas confirm, and where requests are sent now lead to where requests shall be
sent next and what each replica shall hold. Three rules keep an adapter served through every change:

- A replica is routed to only once it has confirmed that it holds the adapter.
- A route is given up only once every replica that the plan wants for the adapter has confirmed it. An adapter
  that one of them cannot load keeps the routes it had.
- What is no longer routed stays loaded until requests on their way have arrived.

A replica that is to go away is cleared in the same manner. An adapter that no replica of the plan can take
for now (GPUs are short, and its new replica does not exist yet) finds shelter on one that stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Replicas = frozenset[str]
Adapters = frozenset[str]
Routes = Mapping[str, Replicas]
"""By adapter, the replicas that its requests are sent to."""

BASE_MODEL: Final = ""
"""Stands for the base model among the names of adapters."""

DRAIN_S: Final = 2.0
"""Until a change of routes has reached every gateway, and requests on their way have arrived."""

LONGEST_STREAM_S: Final = 600.0
"""A replica that is to go away is not waited for any longer than this."""


@dataclass(frozen=True)
class Holder:
    """One replica that exists, as its agent tells.

    Attributes:
        ready: Whether it answers, and is to be sent requests.
        loaded: The adapters that it holds.
        failed: Adapters that it cannot load, and will not by itself.
        troubles: Why each of those cannot be loaded.
        idle: Whether no request is in flight there.
        max_lora_rank: Adapters of a higher rank do not fit.
    """

    ready: bool = False
    loaded: Adapters = frozenset()
    failed: Adapters = frozenset()
    troubles: Mapping[str, str] = field(default_factory=dict)
    idle: bool = True
    max_lora_rank: int = 512

    def serves(self, adapter: str) -> bool:
        """Whether requests for an adapter may be sent here."""
        return self.ready and adapter in self.loaded


Unrouted = Mapping[tuple[str, str], float]
"""By (adapter, replica), since when no requests have been sent there."""


@dataclass(frozen=True)
class Situation:
    """Everything that the next moves depend on.

    Attributes:
        wanted: By adapter, the replicas that the plan gives it.
        holders: The replicas that exist.
        leaving: Those of them that are to go away.
        routed: Where requests are sent now.
        published: By replica, the adapters that it was last told to hold.
        ranks: Ranks of adapters, by name.
        copies: Copies that an adapter must not go below; one where it is not named.
        unrouted: Since when nothing is sent to adapters that replicas still hold.
        now_s: The present.
    """

    wanted: Routes
    holders: Mapping[str, Holder]
    leaving: Replicas = frozenset()
    routed: Routes = field(default_factory=dict)
    published: Mapping[str, Adapters] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)
    unrouted: Unrouted = field(default_factory=dict)
    now_s: float = 0.0

    def serving(self, adapter: str, replicas: Replicas) -> Replicas:
        """Those of the replicas to which an adapter's requests may be sent."""
        return frozenset(r for r in replicas if r in self.holders and self.holders[r].serves(adapter))

    def staying(self, replicas: Replicas) -> Replicas:
        """Those of the replicas that do not go away."""
        return replicas - self.leaving


@dataclass(frozen=True)
class Moves:
    """What to do next.

    Attributes:
        routes: Where requests shall be sent; `BASE_MODEL` is among the keys.
        holds: By replica, what it shall hold: wanted, routed, sheltered or draining.
        unrouted: Since when nothing is sent to what is held all the same.
        may_go: Replicas on their way out that nobody needs any more.
        settled: Whether everything is as the plan wants it.
    """

    routes: Routes
    holds: Mapping[str, Adapters]
    unrouted: Unrouted
    may_go: Replicas
    settled: bool


def next_moves(situation: Situation) -> Moves:
    """The next moves: each keeps every adapter where it can be answered."""
    shelters = {a: found for a in situation.wanted if (found := _shelter(situation, a)) is not None}
    routes = {a: _routes(situation, a, shelters.get(a)) for a in situation.wanted}
    routes[BASE_MODEL] = _base_routes(situation)
    unrouted = _unrouted(situation, routes)
    holds = {replica: _holds(situation, replica, routes, shelters, unrouted) for replica in situation.holders}
    may_go = frozenset(r for r in situation.leaving if _may_go(situation, r, routes, unrouted))
    return Moves(routes, holds, unrouted, may_go, _settled(situation, routes, holds))


def _routes(situation: Situation, adapter: str, shelter: str | None) -> Replicas:
    """Where requests for an adapter go next."""
    wanted = situation.staying(situation.wanted[adapter])
    targets = wanted if shelter is None else wanted | {shelter}
    before = situation.routed.get(adapter, frozenset())
    serving = situation.serving(adapter, targets | before)
    needed = _needed(situation, adapter, serving)
    if wanted <= serving and len(wanted) >= needed:
        return wanted
    staying = situation.staying(serving)
    if len(staying) >= needed or not _can_stay(situation, adapter):
        return staying
    return serving or _unanswered(situation, before)


def _needed(situation: Situation, adapter: str, serving: Replicas) -> int:
    """Copies that must stay: as many as are asked for, or as there are where those are fewer."""
    return max(1, min(situation.copies.get(adapter, 1), len(serving)))


def _unanswered(situation: Situation, before: Replicas) -> Replicas:
    """Where nothing is known to serve, replicas that only do not answer now are left routed."""
    return frozenset(r for r in before if r in situation.holders and not situation.holders[r].ready)


def _base_routes(situation: Situation) -> Replicas:
    """Every ready replica serves the base model; those on their way out only where there is no other."""
    ready = frozenset(name for name, holder in situation.holders.items() if holder.ready)
    return situation.staying(ready) or ready


def _can_stay(situation: Situation, adapter: str) -> bool:
    """Whether any replica that stays could hold an adapter, now or later."""
    return any(_fits(situation, adapter, name) for name in situation.holders.keys() - situation.leaving)


def _fits(situation: Situation, adapter: str, replica: str) -> bool:
    holder = situation.holders[replica]
    return situation.ranks.get(adapter, 0) <= holder.max_lora_rank and adapter not in holder.failed


def _shelter(situation: Situation, adapter: str) -> str | None:
    """A replica that stays, for an adapter that would otherwise go with one that leaves.

    Not needed where the plan's own replicas can take it: then it is only waited for.
    """
    present = situation.serving(adapter, situation.routed.get(adapter, frozenset()))
    if not present & situation.leaving or situation.staying(present):
        return None
    coming = situation.staying(situation.wanted[adapter]) & situation.holders.keys()
    if any(_fits(situation, adapter, replica) for replica in coming):
        return None
    able = [
        name
        for name in situation.holders.keys() - situation.leaving
        if situation.holders[name].ready and _fits(situation, adapter, name)
    ]
    return min(able, key=lambda name: _inconvenience(situation, adapter, name), default=None)


def _inconvenience(situation: Situation, adapter: str, replica: str) -> tuple[bool, int, str]:
    """A shelter that was chosen before is kept; otherwise the replica with the fewest adapters is."""
    published = situation.published.get(replica, frozenset())
    return adapter not in published, len(published), replica


def _unrouted(situation: Situation, routes: Routes) -> Unrouted:
    """Since when nothing is sent to what replicas still hold, or to replicas on their way out."""
    held = {(a, r) for r, adapters in situation.published.items() for a in adapters}
    held |= {(BASE_MODEL, r) for r in situation.leaving}
    return {
        (adapter, replica): situation.unrouted.get((adapter, replica), situation.now_s)
        for adapter, replica in held
        if replica in situation.holders and replica not in routes.get(adapter, frozenset())
    }


def _holds(
    situation: Situation, replica: str, routes: Routes, shelters: Mapping[str, str], unrouted: Unrouted
) -> Adapters:
    wanted = {a for a, replicas in situation.wanted.items() if replica in replicas}
    routed = {a for a, replicas in routes.items() if replica in replicas and a != BASE_MODEL}
    sheltered = {a for a, shelter in shelters.items() if shelter == replica}
    published = situation.published.get(replica, frozenset())
    draining = {a for a in published if _age_s(situation, unrouted, a, replica) < DRAIN_S}
    return frozenset(wanted | routed | sheltered | draining)


def _may_go(situation: Situation, replica: str, routes: Routes, unrouted: Unrouted) -> bool:
    """Whether a replica on its way out is empty: nothing is sent there, and nothing is in flight."""
    holder = situation.holders.get(replica)
    if holder is None or any(replica in replicas for adapter, replicas in routes.items() if adapter):
        return holder is None
    if not holder.ready:
        return True
    oldest_s = min((_age_s(situation, unrouted, a, r) for a, r in unrouted if r == replica), default=0.0)
    return oldest_s >= LONGEST_STREAM_S or (holder.idle and oldest_s >= DRAIN_S)


def _age_s(situation: Situation, unrouted: Unrouted, adapter: str, replica: str) -> float:
    """Seconds since something was last sent to an adapter on a replica; none where it still is."""
    since = unrouted.get((adapter, replica))
    return 0.0 if since is None else situation.now_s - since


def _settled(situation: Situation, routes: Routes, holds: Mapping[str, Adapters]) -> bool:
    """Whether routes and contents are those of the plan, and nobody is on the way out."""
    if situation.leaving:
        return False
    if any(routes[adapter] != replicas for adapter, replicas in situation.wanted.items()):
        return False
    return all(
        adapters == {a for a, replicas in situation.wanted.items() if replica in replicas}
        for replica, adapters in holds.items()
    )
