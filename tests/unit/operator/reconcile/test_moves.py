"""Make before break for adapters: small cases by hand, and everything that may happen by a state machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapter_operator.reconcile.moves import (
    BASE_MODEL,
    DRAIN_S,
    LONGEST_STREAM_S,
    Holder,
    Situation,
    next_moves,
)

A, B = "one", "two"


def names(*replicas):
    return frozenset(replicas)


def holder(*loaded, **state):
    return Holder(**{"ready": True, "loaded": frozenset(loaded)} | state)


def moving(**holders):
    """Adapter `one` is routed to r0; the plan wants it on r1."""
    return Situation(
        wanted={A: names("r1")},
        holders=holders,
        routed={A: names("r0")},
        published={"r0": names(A), "r1": frozenset()},
    )


def test_an_adapter_is_loaded_at_its_new_replica_while_the_old_one_serves():
    moves = next_moves(moving(r0=holder(A), r1=holder()))
    assert moves.routes[A] == names("r0")
    assert moves.holds == {"r0": names(A), "r1": names(A)}
    assert not moves.settled


def test_once_confirmed_it_is_routed_and_drained_and_then_unloaded():
    moves = next_moves(moving(r0=holder(A), r1=holder(A)))
    assert moves.routes[A] == names("r1")
    assert moves.holds["r0"] == names(A)
    later = replace(
        moving(r0=holder(A), r1=holder(A)),
        routed=moves.routes,
        published=moves.holds,
        unrouted=moves.unrouted,
        now_s=DRAIN_S,
    )
    assert next_moves(later).holds == {"r0": frozenset(), "r1": names(A)}
    assert next_moves(later).settled


def test_an_adapter_that_fails_at_its_new_replica_keeps_its_old_one():
    moves = next_moves(moving(r0=holder(A), r1=holder(failed=names(A))))
    assert moves.routes[A] == names("r0")
    assert A in moves.holds["r0"]


def test_a_replica_that_only_does_not_answer_stays_routed_where_there_is_no_other():
    moves = next_moves(moving(r0=holder(ready=False), r1=holder()))
    assert moves.routes[A] == names("r0")


def test_a_replica_that_lost_an_adapter_is_not_routed_to():
    moves = next_moves(moving(r0=holder(), r1=holder()))
    assert moves.routes[A] == frozenset()


def test_copies_are_replaced_together():
    situation = Situation(
        wanted={A: names("r2", "r3")},
        holders={"r0": holder(A), "r1": holder(A), "r2": holder(A), "r3": holder()},
        routed={A: names("r0", "r1")},
        copies={A: 2},
    )
    assert next_moves(situation).routes[A] == names("r0", "r1", "r2")


def test_an_adapter_whose_new_replica_does_not_exist_yet_finds_shelter_where_it_fits():
    situation = Situation(
        wanted={A: names("new-0")},
        holders={"old-0": holder(), "old-1": holder(A), "old-2": holder(max_lora_rank=8)},
        leaving=names("old-1"),
        routed={A: names("old-1")},
        published={"old-0": names(B), "old-1": names(A), "old-2": frozenset()},
        ranks={A: 16},
    )
    moves = next_moves(situation)
    assert A in moves.holds["old-0"]
    assert moves.routes[A] == names("old-1")
    assert moves.may_go == frozenset()


def test_a_replica_with_requests_in_flight_is_waited_for_but_not_for_ever():
    def at(now_s, *, idle):
        return Situation(
            wanted={A: names("r0")},
            holders={"r0": holder(A), "r1": holder(A, idle=idle)},
            leaving=names("r1"),
            routed={A: names("r0")},
            published={"r0": names(A), "r1": names(A)},
            unrouted={(A, "r1"): 0.0, (BASE_MODEL, "r1"): 0.0},
            now_s=now_s,
        )

    assert next_moves(at(DRAIN_S / 2, idle=True)).may_go == frozenset()
    assert next_moves(at(DRAIN_S, idle=True)).may_go == names("r1")
    assert next_moves(at(LONGEST_STREAM_S - 1, idle=False)).may_go == frozenset()
    assert next_moves(at(LONGEST_STREAM_S, idle=False)).may_go == names("r1")


def test_the_last_replica_may_go_where_nothing_else_can_be():
    situation = Situation(
        wanted={A: names("new-0")},
        holders={"old-0": holder(A)},
        leaving=names("old-0"),
        routed={A: names("old-0")},
        published={"old-0": names(A)},
    )
    moves = next_moves(situation)
    assert moves.routes[A] == frozenset()
    assert moves.routes[BASE_MODEL] == names("old-0")


REPLICAS = [f"r{n}" for n in range(4)]
ADAPTERS = [A, B, "three"]
some_replicas = st.frozensets(st.sampled_from(REPLICAS), min_size=1, max_size=2)


class Moving(RuleBasedStateMachine):
    """Plans change, replicas crash, come and go, loads succeed and fail; the operator makes its moves."""

    def __init__(self):
        super().__init__()
        self.now_s = 0.0
        self.copies = {A: 2}
        self.wanted = {name: names("r0", "r1") for name in ADAPTERS}
        self.holders = {"r0": holder(*ADAPTERS), "r1": holder(*ADAPTERS)}
        self.published = {"r0": names(*ADAPTERS), "r1": names(*ADAPTERS)}
        self.routed = {name: names("r0", "r1") for name in ADAPTERS}
        self.unrouted, self.leaving, self.unrouted_at = {}, frozenset(), {}

    def situation(self):
        return Situation(
            wanted=self.wanted,
            holders=self.holders,
            leaving=self.leaving & self.holders.keys(),
            routed=self.routed,
            published=self.published,
            copies=self.copies,
            unrouted=self.unrouted,
            now_s=self.now_s,
        )

    def serving(self, adapter, routes):
        return {r for r in routes if r in self.holders and self.holders[r].serves(adapter)}

    @rule(adapter=st.sampled_from(ADAPTERS), replicas=some_replicas)
    def the_plan_changes(self, adapter, replicas):
        if adapter in self.copies and len(replicas) < self.copies[adapter]:
            replicas |= frozenset([r for r in REPLICAS if r not in replicas][:1])
        self.wanted = self.wanted | {adapter: replicas}

    @rule(replica=st.sampled_from(REPLICAS))
    def a_replica_starts(self, replica):
        self.holders = {replica: holder()} | self.holders

    @rule(replica=st.sampled_from(REPLICAS))
    def a_replica_restarts_empty(self, replica):
        if replica in self.holders:
            self.holders = self.holders | {replica: holder()}

    @rule(replica=st.sampled_from(REPLICAS))
    def a_replica_does_not_answer(self, replica):
        if replica in self.holders:
            self.holders = self.holders | {replica: replace(self.holders[replica], ready=False)}

    @rule(replica=st.sampled_from(REPLICAS))
    def a_replica_answers_again(self, replica):
        if replica in self.holders:
            self.holders = self.holders | {replica: replace(self.holders[replica], ready=True)}

    @rule(leaving=st.frozensets(st.sampled_from(REPLICAS), max_size=2))
    def replicas_are_to_leave(self, leaving):
        self.leaving = leaving

    @rule(replica=st.sampled_from(REPLICAS), adapter=st.sampled_from(ADAPTERS), good=st.booleans())
    def an_agent_loads(self, replica, adapter, good):
        holding = self.holders.get(replica)
        if holding is None or adapter not in self.published.get(replica, ()) or adapter in holding.loaded:
            return
        loaded, failed = holding.loaded | {adapter}, holding.failed | {adapter}
        changed = (
            replace(holding, loaded=loaded, failed=holding.failed - {adapter})
            if good
            else replace(holding, failed=failed)
        )
        self.holders = self.holders | {replica: changed}

    @rule(seconds=st.sampled_from([0.5, 1.0, DRAIN_S]))
    def time_passes(self, seconds):
        self.now_s += seconds

    @rule()
    def the_operator_moves(self):
        situation = self.situation()
        moves = next_moves(situation)
        for adapter in ADAPTERS:
            self.check_copies(situation, adapter, moves)
        self.check_drains(moves)
        for replica in moves.may_go:
            assert not any(replica in moves.routes[adapter] for adapter in ADAPTERS)
        self.routed, self.published, self.unrouted = moves.routes, dict(moves.holds), moves.unrouted
        for replica in moves.may_go:
            self.holders = {name: h for name, h in self.holders.items() if name != replica}
            self.published.pop(replica, None)
        self.agents_unload()

    def check_copies(self, situation, adapter, moves):
        before = self.serving(adapter, self.routed.get(adapter, ()))
        after = self.serving(adapter, moves.routes[adapter])
        elsewhere = [
            name
            for name, state in self.holders.items()
            if name not in situation.leaving and adapter not in state.failed
        ]
        if elsewhere:
            assert len(after) >= min(len(before), self.copies.get(adapter, 1))
        for replica in moves.routes[adapter]:
            assert adapter in moves.holds[replica]
            assert self.holders[replica].serves(adapter) or not after

    def check_drains(self, moves):
        for adapter in ADAPTERS:
            for replica in self.routed.get(adapter, frozenset()) - moves.routes[adapter]:
                self.unrouted_at[adapter, replica] = self.now_s
        for replica, adapters in moves.holds.items():
            for adapter in self.published.get(replica, frozenset()) - adapters:
                assert self.now_s - self.unrouted_at.get((adapter, replica), -1e9) >= DRAIN_S

    def agents_unload(self):
        self.holders = {
            name: replace(state, loaded=state.loaded & self.published.get(name, frozenset()))
            for name, state in self.holders.items()
        }

    @precondition(lambda self: self.wanted)
    @rule()
    def left_alone_everything_settles(self):
        """With every wanted replica there and every load good, routes and contents become the plan's."""
        self.leaving = frozenset(REPLICAS) - frozenset().union(*self.wanted.values())
        everything = {name: holder() for name in REPLICAS if name not in self.leaving}
        self.holders = everything | self.holders
        self.holders = {
            name: replace(state, ready=True, failed=frozenset()) for name, state in self.holders.items()
        }
        for _ in range(8):
            self.the_operator_moves()
            self.holders = {
                name: replace(state, loaded=state.loaded | self.published.get(name, frozenset()))
                for name, state in self.holders.items()
            }
            self.now_s += DRAIN_S
        assert {name: self.routed[name] for name in ADAPTERS} == self.wanted
        self.leaving = frozenset()
        assert next_moves(self.situation()).settled

    @invariant()
    def routes_are_held(self):
        for adapter in ADAPTERS:
            for replica in self.routed.get(adapter, ()):
                assert replica not in self.holders or adapter in self.published.get(replica, ())


Moving.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMoving = pytest.mark.filterwarnings("default")(Moving.TestCase)
