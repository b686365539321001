"""The loop: observe → forecast → plan → stabilise → verify → actuate → report, for one object at a time.

What is computed is pure and lives in other modules; here is the order in which things happen, and the I/O.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from adapter_operator.api.conditions import Reason
from adapter_operator.api.v1alpha1 import Status
from adapter_operator.metrics import Metrics
from adapter_operator.planning import Decision, reject
from adapter_operator.reconcile.account import Account, Fault
from adapter_operator.reconcile.audit import audit_line
from adapter_operator.reconcile.desired import desired_state, number_plan, rollout_step
from adapter_operator.reconcile.errors import ClusterError
from adapter_operator.reconcile.inputs import Intent, intent_of
from adapter_operator.reconcile.judgement import Judged, present_hash, stands, still_holds
from adapter_operator.reconcile.moves import Unrouted, next_moves
from adapter_operator.reconcile.moving import situation_of, with_moves
from adapter_operator.reconcile.news import news
from adapter_operator.reconcile.ports import Agents, Clock, Cluster, Engines, Planner, TrafficSource
from adapter_operator.reconcile.report import is_news, status_after, to_json
from adapter_operator.reconcile.values import Announcement, Desired, ObjectKey, Observed, PlanRecord
from adapter_twin.errors import AdaptwinError

logger = logging.getLogger(__name__)
audit = logging.getLogger("adaptwin.audit")

TELL_AFTER_S: Final = 2.0
"""A decision that takes longer is told of in the status while it is being made."""

LOOK_AGAIN_S: Final = 5.0
"""How often it is seen to that the decision being made is still wanted."""

AT_ONCE_S: Final = 0.0
MOVING_S: Final = 0.5
"""How often to look while adapters move."""

TRY_AGAIN_S: Final = 60.0
"""When to try again what failed for want of time."""


@dataclass(frozen=True)
class Ports:
    """Everything outside the loop."""

    cluster: Cluster
    engines: Engines
    traffic: TrafficSource
    planner: Planner
    clock: Clock
    agents: Agents | None = None
    """None where adapters are loaded by others: assignments are published, and nothing is routed."""


class Reconciler:
    """Brings objects to what their specs ask for. Remembers nothing that it could not work out again."""

    def __init__(self, ports: Ports, metrics: Metrics) -> None:
        """A reconciler over these ports."""
        self._ports = ports
        self._metrics = metrics
        self._judged: dict[ObjectKey, Judged] = {}
        self._unrouted: dict[ObjectKey, Unrouted] = {}

    async def reconcile(self, key: ObjectKey) -> float | None:
        """Bring one object one step further; the seconds after which to look again, if that is known."""
        started = self._ports.clock.monotonic()
        observed = await self._ports.cluster.observe(key)
        if observed is None:
            self._forget(key)
            return None
        account = await self._decide(await self._understand(observed))
        if account is None:
            return AT_ONCE_S
        account = await self._actuate(account)
        await self._report(account)
        self._measure(account, started)
        return _again_s(account)

    async def _understand(self, observed: Observed) -> Account:
        """Observe and forecast: what is asked, or why it cannot be planned."""
        account = Account(
            observed=observed,
            status=_status(observed.resource),
            now=self._ports.clock.now(),
            record=observed.in_force,
            problems=tuple(await self._ports.engines.problems(observed.key)),
            holders=await self._ports.agents.holders(observed) if self._ports.agents else {},
            rates=await self._ports.traffic.rates(observed.key),
        )
        try:
            intent = await asyncio.to_thread(intent_of, observed, account.rates)
        except AdaptwinError as error:
            return replace(account, fault=Fault(Reason.INVALID_SPEC, str(error)))
        return replace(account, intent=intent, fault=_obstacle(intent))

    async def _decide(self, account: Account) -> Account | None:
        """Plan, stabilise, verify: what is in force, or was decided earlier, is kept where it still holds.

        None where the spec changed while a decision was being made, which then answers no question any more.
        """
        if account.intent is None or account.fault is not None:
            return account
        key, intent = account.observed.key, account.intent
        if stands(account.observed, account.status, intent):
            self._judged.pop(key, None)
            return account
        judged = self._judged.get(key)
        if judged is None or not still_holds(judged, account.observed, intent):
            planned = await self._planned(account, intent)
            if planned is None:
                return None
            account, decision = planned
            judged = self._remember(account.observed, intent, decision)
            fresh = await self._ports.cluster.observe(key)
            if fresh is None or not fresh.asks_the_same_as(account.observed):
                return None
            account = replace(account, observed=fresh)
        return replace(account, judged=judged, record=_record_after(account, judged, intent))

    async def _planned(self, account: Account, intent: Intent) -> tuple[Account, Decision] | None:
        """Have a new decision made; tell of it if a new spec's takes long. None where nobody wants it."""
        task = asyncio.ensure_future(self._ports.planner.decide(intent.request))
        try:
            done, _ = await asyncio.wait({task}, timeout=TELL_AFTER_S)
            if not done and account.status.observed_generation != account.observed.generation:
                told = await self._report(replace(account, deciding=True))
                account = replace(account, status=told.status)
            if not await self._wanted_until_done(task, account.observed):
                return None
            decision = await task
        except AdaptwinError as error:
            decision = reject(intent.request, "ProfileInvalid", str(error))
        finally:
            task.cancel()
        return replace(account, now=self._ports.clock.now()), decision

    async def _wanted_until_done(self, task: asyncio.Future[Decision], observed: Observed) -> bool:
        """Wait for a decision; give it up where its object is gone or asks something else by now."""
        while not task.done():
            fresh = await self._ports.cluster.observe(observed.key)
            if fresh is None or not fresh.asks_the_same_as(observed):
                return False
            await asyncio.wait({task}, timeout=LOOK_AGAIN_S)
        return True

    def _remember(self, observed: Observed, intent: Intent, decision: Decision) -> Judged:
        """Keep a decision for as long as the question stays the same, and count it."""
        judged = Judged(decision, intent.inputs, present_hash(observed))
        if judged.lasting:
            self._judged[observed.key] = judged
        self._metrics.decisions.labels(decision.status, decision.verdict.reason).inc()
        for stage, seconds in decision.timings.items():
            self._metrics.planning_seconds.labels(stage).observe(seconds)
        return judged

    async def _actuate(self, account: Account) -> Account:
        """Take the next step towards the plan in force; a spec that cannot be met leaves what runs alone."""
        intent, record = account.intent, account.record
        if intent is None or record is None or account.fault or account.rejected or not _may_act(intent):
            return account
        gpus = intent.request.profile.tensor_parallel_size
        step = rollout_step(account.observed, record, intent.deployment, gpus)
        told = [entry.plan_hash for entry in account.status.history]
        desired = desired_state(
            account.observed, record, step, intent.deployment, intent.request.profile, told
        )
        account = replace(account, step=step)
        if self._ports.agents is not None:
            account, desired = self._move(account, desired)
        try:
            await self._ports.cluster.actuate(desired)
        except ClusterError as error:
            if error.refused:
                await self._report(replace(account, failure=str(error)))
            raise
        return account

    def _move(self, account: Account, desired: Desired) -> tuple[Account, Desired]:
        """Let adapters follow the plan, and hold back replicas that are still needed."""
        key = account.observed.key
        situation = situation_of(
            account.observed,
            desired,
            account.holders,
            self._unrouted.get(key, {}),
            self._ports.clock.monotonic(),
        )
        moves = next_moves(situation)
        self._unrouted[key] = moves.unrouted
        return replace(account, moves=moves), with_moves(desired, situation, moves)

    async def _report(self, account: Account) -> Account:
        """Write the status where it has changed, and announce a decision once."""
        status = status_after(account)
        if to_json(status) != to_json(account.status):
            await self._ports.cluster.report(account.observed.key, to_json(status))
        judged = account.judged
        if judged and is_news(account.status, judged.decision_id(account.observed.uid)):
            audit.info("decision", extra=audit_line(account, judged))
            await self._announce(account, judged.announcement())
        for announcement in news(account, status):
            await self._announce(account, announcement)
        return replace(account, status=status)

    async def _announce(self, account: Account, announcement: Announcement) -> None:
        """Tell people; that they could not be told must not stop the work."""
        try:
            await self._ports.cluster.announce(account.observed, announcement)
        except ClusterError as error:
            logger.warning("an Event could not be written: %s", error)

    def _measure(self, account: Account, started: float) -> None:
        key, record, intent = account.observed.key, account.record, account.intent
        if intent is not None:
            self._metrics.observe_object(
                key.namespace,
                key.name,
                adapters=len(intent.request.adapters),
                planned=record.plan.replicas if record else 0,
                ready=account.ready_replicas,
                gpus=record.plan.gpus(intent.request.profile.tensor_parallel_size) if record else 0,
            )
        judged = account.judged
        if (
            judged
            and judged.action == "Apply"
            and is_news(account.status, judged.decision_id(account.observed.uid))
        ):
            self._metrics.applied_seconds.observe(self._ports.clock.monotonic() - started)

    def _forget(self, key: ObjectKey) -> None:
        self._judged.pop(key, None)
        self._unrouted.pop(key, None)
        self._metrics.forget_object(key.namespace, key.name)


def _again_s(account: Account) -> float | None:
    """After how many seconds to look again, where that is known."""
    if account.moves is not None and not account.moves.settled:
        return MOVING_S
    return None if account.judged is None or account.judged.lasting else TRY_AGAIN_S


def _status(resource: Mapping[str, Any]) -> Status:
    """The status as it is; one that another release wrote and this one cannot read is written anew."""
    try:
        return Status.model_validate_json(json.dumps(resource.get("status", {})))
    except ValidationError:
        return Status()


def _obstacle(intent: Intent) -> Fault | None:
    """What keeps a valid spec from being planned."""
    spec = intent.deployment.spec
    if spec.scaling.mode == "Paused":
        return Fault(Reason.PAUSED, "scaling.mode is Paused: nothing is planned and nothing is changed")
    if spec.verification.runner == "Job":
        message = "spec.verification.runner: Job is not supported by this version; Inline is"
        return Fault(Reason.NOT_SUPPORTED, message)
    return None


def _record_after(account: Account, judged: Judged, intent: Intent) -> PlanRecord | None:
    """The plan in force after a decision: only a verified plan replaces it, and only where that is wanted."""
    plan = judged.decision.plan if judged.action == "Apply" else None
    if plan is None or not _may_act(intent):
        return account.observed.in_force
    return number_plan(plan, intent.inputs, account.observed.plans)


def _may_act(intent: Intent) -> bool:
    """Whether plans are to be carried out, and not only recommended."""
    return intent.deployment.spec.scaling.mode == "Auto"
