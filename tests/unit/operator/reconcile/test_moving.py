"""From the loop's values to moves and back."""

import json
from types import SimpleNamespace

import pytest

from adapter_operator.reconcile.desired import desired_state, rollout_step
from adapter_operator.reconcile.moves import DRAIN_S, Holder, next_moves
from adapter_operator.reconcile.moving import situation_of, with_moves

POOL = "p-00000001"


def text(*names):
    return json.dumps({"plan": "x", "generation": 1, "adapters": [{"name": name} for name in names]})


@pytest.fixture
def move(make_observed, make_intent, make_record):
    """One pass over a fleet of this state, towards a plan of one replica."""

    def once(pools, holders, *, plan=None, routes=None, unrouted=None, now_s=0.0):
        record = make_record(**(plan or {}))
        observed = make_observed(pools=pools, plans=[record])
        observed = SimpleNamespace(**vars(observed) | {"routes": routes or {}})
        intent = make_intent()
        step = rollout_step(observed, record, intent.deployment, 1)
        desired = desired_state(observed, record, step, intent.deployment, intent.request.profile, ())
        situation = situation_of(observed, desired, holders, unrouted or {}, now_s)
        moves = next_moves(situation)
        return with_moves(desired, situation, moves), moves

    return once


def full(*names, **state):
    return Holder(**{"ready": True, "loaded": frozenset(names)} | state)


ALL = ("tenant/0", "tenant/1", "tenant/2")


def test_replicas_that_do_not_exist_yet_are_told_what_the_plan_gives_them(move):
    desired, moves = move([], {})
    assert desired.pools[0].assignments == {0: dict.fromkeys(ALL, 1.0)}
    assert moves.routes["tenant/0"] == frozenset()


def test_a_replica_beyond_the_plan_stays_until_its_adapters_have_moved(move, make_pool):
    pools = [make_pool(replicas=2, ready=2, r0=text("tenant/0"), r1=text("tenant/1", "tenant/2"))]
    routes = {
        "tenant/0": frozenset({f"{POOL}-0"}),
        "tenant/1": frozenset({f"{POOL}-1"}),
        "tenant/2": frozenset({f"{POOL}-1"}),
    }
    holders = {f"{POOL}-0": full("tenant/0"), f"{POOL}-1": full("tenant/1", "tenant/2")}
    desired, moves = move(pools, holders, routes=routes)
    assert desired.pools[0].replicas == 2
    assert set(desired.pools[0].assignments[0]) == set(ALL)
    assert set(desired.pools[0].assignments[1]) == {"tenant/1", "tenant/2"}

    holders[f"{POOL}-0"] = full(*ALL)
    pools = [make_pool(replicas=2, ready=2, r0=text(*ALL), r1=text("tenant/1", "tenant/2"))]
    desired, moves = move(pools, holders, routes=moves.routes)
    assert moves.routes["tenant/1"] == frozenset({f"{POOL}-0"})
    assert desired.pools[0].replicas == 2

    desired, _ = move(pools, holders, routes=moves.routes, unrouted=moves.unrouted, now_s=DRAIN_S)
    assert desired.pools[0].replicas == 1


def test_a_retired_pool_stays_until_it_is_drained(move, make_pool):
    old = make_pool("p-old", r0=text(*ALL))
    pools = [make_pool(r0=text(*ALL)), old]
    holders = {f"{POOL}-0": full(*ALL), "p-old-0": full(*ALL, idle=False)}
    routes = dict.fromkeys(ALL, frozenset({"p-old-0"}))
    desired, moves = move(pools, holders, routes=routes)
    assert desired.retired == ()
    assert desired.outgoing == {"p-old": 1}
    assert set(desired.outgoing_assignments["p-old"][0]) == set(ALL)
    later = {"routes": moves.routes, "unrouted": moves.unrouted, "now_s": DRAIN_S}
    desired, _ = move(pools, holders, **later)
    assert desired.retired == ()
    desired, _ = move(pools, holders | {"p-old-0": full(*ALL)}, **later)
    assert desired.retired == ("p-old",)
