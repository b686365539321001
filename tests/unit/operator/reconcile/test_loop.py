"""The loop over ports in memory: what it does when, and what it leaves alone."""

import asyncio
import copy
import logging
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from adapter_operator.metrics import Metrics
from adapter_operator.reconcile.errors import ClusterError
from adapter_operator.reconcile.loop import AT_ONCE_S, TRY_AGAIN_S, Ports, Reconciler
from adapter_operator.reconcile.queue import Backoff, WorkQueue
from adapter_operator.reconcile.rollout import PoolState
from adapter_operator.reconcile.traffic import DeclaredTraffic
from adapter_operator.reconcile.values import ObjectKey, Observed, ObservedPool
from adapter_operator.reconcile.workers import resync, run_workers
from adapter_predictor.errors import PlacementError

KEY = ObjectKey("team", "llama")


class MemoryCluster:
    """A cluster of one object, whose replicas are ready at once."""

    def __init__(self, resource):
        self.resource = resource
        self.pools, self.plans = {}, {}
        self.applied, self.reports, self.news = [], [], []
        self.refusal = None

    async def observe(self, key):
        if self.resource is None:
            return None
        plans = sorted(self.plans.values(), key=lambda record: -record.generation)
        pools = tuple(ObservedPool(PoolState(n, c, c, c)) for n, c in sorted(self.pools.items()))
        return Observed(key, copy.deepcopy(self.resource), pools, tuple(plans))

    async def actuate(self, desired):
        if self.refusal is not None:
            raise self.refusal
        self.applied.append(desired)
        self.plans[desired.record.plan.hash] = desired.record
        self.pools = {pool.pool.name: pool.replicas for pool in desired.pools} | dict(desired.outgoing)

    async def report(self, key, status):
        assert key == KEY
        self.reports.append(status)
        if self.resource is not None:
            self.resource["status"] = status

    async def announce(self, observed, announcement):
        assert observed.key == KEY
        self.news.append(announcement.reason)


class NoProblems:
    async def problems(self, _key):
        return ()


class ScriptedPlanner:
    """Gives the decisions that it was told to, the last one for ever."""

    def __init__(self, *decisions):
        self.decisions = list(decisions)
        self.asked = 0
        self.meanwhile = lambda: None

    async def decide(self, request):
        self.asked += 1
        self.meanwhile()
        decision = self.decisions.pop(0) if len(self.decisions) > 1 else self.decisions[0]
        if isinstance(decision, Exception):
            raise decision
        return decision


class StandingClock:
    def __init__(self):
        self.moment = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

    def now(self):
        return self.moment

    def monotonic(self):
        return self.moment.timestamp()


class RefusedError(ClusterError):
    refused = True


class World:
    """A reconciler and what is around it."""

    def __init__(self, resource, *decisions):
        self.cluster = MemoryCluster(resource)
        self.planner = ScriptedPlanner(*decisions)
        self.clock = StandingClock()
        self.metrics = Metrics(CollectorRegistry())
        self.start()

    def start(self):
        """A new process, which remembers nothing."""
        ports = Ports(self.cluster, NoProblems(), DeclaredTraffic(), self.planner, self.clock)
        self.reconciler = Reconciler(ports, self.metrics)

    def run(self, times=1):
        for _ in range(times):
            again = asyncio.run(self.reconciler.reconcile(KEY))
            self.clock.moment += timedelta(seconds=60)
        return again

    def edit(self, **spec):
        self.cluster.resource["spec"] |= spec
        self.cluster.resource["metadata"]["generation"] += 1

    def condition(self, type_):
        found = {c["type"]: c for c in self.cluster.resource["status"]["conditions"]}
        return found[type_]["status"], found[type_]["reason"]


@pytest.fixture
def make_world(make_resource):
    return lambda *decisions, **options: World(make_resource(**options), *decisions)


def test_a_verified_plan_is_applied_and_then_left_alone(make_world, verified):
    world = make_world(verified())
    world.run(5)
    assert world.planner.asked == 1
    assert world.condition("Verified") == ("True", "TwinVerified")
    assert world.condition("Progressing") == ("False", "RolledOut")
    assert len(world.cluster.reports) == 2, "once with the plan, once when it is rolled out"
    assert world.cluster.news == ["PlanVerified", "RollingOut", "RolledOut"]
    before = copy.deepcopy(world.cluster.resource)
    world.start()
    world.run(3)
    assert world.planner.asked == 1, "a new process decides nothing anew"
    assert world.cluster.resource == before


def test_a_rejected_plan_is_never_applied(make_world, rejected):
    world = make_world(rejected())
    world.run(3)
    assert world.cluster.applied == []
    assert world.planner.asked == 1, "the same question is not asked again"
    assert (len(world.cluster.reports), world.cluster.news) == (1, ["PlanRejected"])
    world.start()
    world.run(2)
    assert (len(world.cluster.reports), len(world.cluster.news)) == (1, 1)


def test_a_rejected_edit_leaves_alone_what_runs_until_it_is_mended(make_world, verified, rejected):
    world = make_world(verified(), rejected(), verified())
    world.run(2)
    applied = len(world.cluster.applied)
    world.edit(scaling={"maxReplicas": 2})
    world.run(2)
    assert len(world.cluster.applied) == applied
    assert world.condition("Degraded") == ("True", "KeepingLastPlan")
    world.edit(scaling={"maxReplicas": 8})
    world.run(1)
    assert world.condition("Verified") == ("True", "TwinVerified")
    assert world.condition("Degraded") == ("False", "AsExpected")


def test_running_out_of_time_is_tried_again(make_world, rejected, verified):
    world = make_world(rejected("Timeout", "too slow"), verified())
    assert world.run() == TRY_AGAIN_S
    assert world.condition("Verified") == ("False", "Timeout")
    assert world.run() is None
    assert world.condition("Verified") == ("True", "TwinVerified")


def test_a_decision_for_an_older_spec_is_not_applied(make_world, verified):
    world = make_world(verified())
    world.planner.meanwhile = lambda: world.edit(scaling={"maxReplicas": 3})
    assert world.run() == AT_ONCE_S
    assert world.cluster.applied == []
    world.planner.meanwhile = lambda: None
    world.run()
    assert len(world.cluster.applied) == 1


def test_a_decision_for_a_namesake_that_is_gone_is_not_applied(make_world, verified):
    """Deleted and made anew while it is decided: both are of generation 1."""
    world = make_world(verified())
    world.planner.meanwhile = lambda: world.cluster.resource["metadata"].update(uid="another")
    assert world.run() == AT_ONCE_S
    assert world.cluster.applied == []


@pytest.mark.parametrize("change", ["edit", "delete"])
def test_a_decision_that_nobody_waits_for_any_more_is_given_up(make_world, verified, monkeypatch, change):
    """Else it would keep a planning process from the others for as long as its timeout."""
    monkeypatch.setattr("adapter_operator.reconcile.loop.TELL_AFTER_S", 0.0)
    monkeypatch.setattr("adapter_operator.reconcile.loop.LOOK_AGAIN_S", 0.01)
    world, ended = make_world(verified()), []

    async def think(_request):
        try:
            if change == "edit":
                world.edit(scaling={"maxReplicas": 3})
            else:
                world.cluster.resource = None
            await asyncio.sleep(3600.0)
        finally:
            ended.append(change)

    monkeypatch.setattr(world.planner, "decide", think)
    assert world.run() == AT_ONCE_S
    assert (ended, world.cluster.applied) == ([change], [])


def test_an_object_that_goes_while_it_is_decided_is_let_go(make_world, verified):
    world = make_world(verified())
    world.planner.meanwhile = lambda: setattr(world.cluster, "resource", None)
    world.run(2)
    assert (world.cluster.applied, world.cluster.reports) == ([], [])


def test_a_refusal_is_told_and_an_outage_is_only_tried_again(make_world, verified):
    world = make_world(verified())
    world.cluster.refusal = ClusterError("no answer")
    with pytest.raises(ClusterError):
        world.run()
    assert world.cluster.reports == []
    world.cluster.refusal = RefusedError("exceeded quota")
    with pytest.raises(RefusedError):
        world.run()
    assert world.condition("Degraded") == ("True", "ApplyFailed")
    world.cluster.refusal = None
    world.run(2)
    assert world.condition("Degraded") == ("False", "AsExpected")
    assert world.planner.asked == 1


def test_paused_and_recommended_change_nothing(make_world, verified):
    world = make_world(verified(), scaling={"mode": "Recommend"})
    world.run(2)
    assert world.condition("Verified") == ("True", "TwinVerified")
    assert (world.cluster.applied, world.planner.asked) == ([], 1)
    world.edit(scaling={"mode": "Paused"})
    world.run()
    assert world.condition("Planned") == ("Unknown", "Paused")
    world.edit(scaling={"mode": "Auto"})
    world.run()
    assert len(world.cluster.applied) == 1


UNPLANNABLE = {
    "a wrong field": ({"profile": {"name": "nowhere"}}, "InvalidSpec"),
    "an unsupported runner": ({"verification": {"runner": "Job"}}, "NotSupported"),
}


@pytest.mark.parametrize("why", UNPLANNABLE)
def test_what_cannot_be_planned_is_said_to_be_so(make_world, verified, why):
    spec, reason = UNPLANNABLE[why]
    world = make_world(verified(), **spec)
    world.run(2)
    assert world.condition("Planned") == ("False", reason)
    assert (world.planner.asked, world.cluster.applied, world.cluster.news) == (0, [], [reason])


def test_planning_that_cannot_be_done_becomes_a_rejection(make_world):
    world = make_world(PlacementError("artifact: it is corrupted"))
    world.run()
    assert world.condition("Planned") == ("False", "ProfileInvalid")


def test_a_status_of_another_release_is_written_anew(make_world, verified):
    world = make_world(verified(), status={"fromTheFuture": True})
    world.run()
    assert world.condition("Planned") == ("True", "PlanFound")


def test_a_long_decision_is_told_of_while_it_is_made(make_world, verified, monkeypatch):
    monkeypatch.setattr("adapter_operator.reconcile.loop.TELL_AFTER_S", 0.01)
    world = make_world(verified())
    decide = world.planner.decide

    async def slowly(request):
        await asyncio.sleep(0.1)
        return await decide(request)

    world.planner.decide = slowly
    world.run()
    first = {c["type"]: c["reason"] for c in world.cluster.reports[0]["conditions"]}
    assert (first["Planned"], first["Verified"]) == ("Verifying", "Verifying")
    assert world.condition("Verified") == ("True", "TwinVerified")


def test_gauges_go_with_their_object(make_world, verified):
    world = make_world(verified())
    world.run()
    assert world.metrics.planned_replicas.labels("team", "llama")._value.get() == 1.0
    world.cluster.resource = None
    world.run()
    assert next(iter(world.metrics.planned_replicas.collect())).samples == []


def test_workers_go_on_whatever_happens_to_one_object(caplog):
    caplog.set_level(logging.CRITICAL)
    seen, metrics = [], Metrics(CollectorRegistry())

    async def reconcile(key):
        seen.append(key.name)
        if key.name == "broken" and seen.count("broken") < 3:
            raise ValueError("unexpected") if seen.count("broken") == 1 else ClusterError("expected")
        return 0.01 if seen.count(key.name) == 1 else None

    async def scenario():
        queue = WorkQueue(Backoff(initial_s=0.01, maximum_s=0.02))
        for name in ("broken", "well"):
            queue.add(ObjectKey("n", name))
        tasks = [
            asyncio.create_task(run_workers(queue, reconcile, 2, metrics)),
            asyncio.create_task(resync(queue, [ObjectKey("n", "late")], 0.05)),
        ]
        async with asyncio.timeout(10.0):
            while seen.count("broken") < 3 or seen.count("well") < 2 or "late" not in seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
    assert metrics.reconciles.labels("unexpected")._value.get() == 1.0
    assert metrics.reconciles.labels("error")._value.get() == 1.0
