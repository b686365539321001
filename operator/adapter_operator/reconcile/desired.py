"""From a verified plan and what exists to what should exist now. Pure."""

from collections.abc import Collection, Mapping

from adapter_operator.api.v1alpha1 import AdapterDeployment
from adapter_operator.reconcile.rollout import PoolTarget, Step, next_step
from adapter_operator.reconcile.values import Desired, DesiredPool, Observed, ObservedPool, PlanRecord
from adapter_predictor.plan import Plan, Pool, replica_name
from adapter_twin.profile import Profile


def number_plan(plan: Plan, inputs: str, plans: Collection[PlanRecord]) -> PlanRecord:
    """The record of a plan that comes into force: a new number, unless it is in force already."""
    in_force = max(plans, key=lambda record: record.generation, default=None)
    if in_force is None:
        return PlanRecord(plan, 1, inputs)
    same = in_force.plan.hash == plan.hash
    return PlanRecord(plan, in_force.generation if same else in_force.generation + 1, inputs)


def rollout_step(observed: Observed, record: PlanRecord, deployment: AdapterDeployment, gpus: int) -> Step:
    """The next step from what exists to the plan; `gpus` are those of one replica."""
    return next_step(
        [PoolTarget(pool.name, pool.replicas) for pool in record.plan.pools],
        [pool.state for pool in observed.pools],
        gpus_per_replica=gpus,
        max_surge_gpus=deployment.spec.rollout.max_surge_gpus,
        previous_replicas=_previous_replicas(observed.plans, record),
    )


def desired_state(
    observed: Observed,
    record: PlanRecord,
    step: Step,
    deployment: AdapterDeployment,
    profile: Profile,
    kept_plans: Collection[str],
) -> Desired:
    """Everything that should exist after a step of the rollout."""
    present = {pool.state.name: pool for pool in observed.pools}
    names = {pool.name for pool in record.plan.pools}
    return Desired(
        deployment=deployment,
        profile=profile,
        record=record,
        pools=tuple(
            _desired_pool(pool, record.plan, step.replicas.get(pool.name, 0), present.get(pool.name))
            for pool in record.plan.pools
        ),
        outgoing={name: count for name, count in step.replicas.items() if name not in names},
        retired=step.retire,
        kept_plans=frozenset({record.plan.hash, *kept_plans}),
    )


def _desired_pool(pool: Pool, plan: Plan, replicas: int, present: ObservedPool | None) -> DesiredPool:
    """A pool of the plan; ordinals that are still to go keep what they serve until they are gone."""
    published: Mapping[int, str] = present.assignments if present else {}
    return DesiredPool(
        pool=pool,
        replicas=replicas,
        assignments={
            ordinal: plan.assignment[replica_name(pool.name, ordinal)] for ordinal in range(pool.replicas)
        },
        carried={n: text for n, text in published.items() if pool.replicas <= n < replicas},
    )


def _previous_replicas(plans: Collection[PlanRecord], record: PlanRecord) -> int:
    """Replicas of the plan that was in force before this one."""
    earlier = [other for other in plans if other.generation < record.generation]
    return max(earlier, key=lambda other: other.generation).plan.replicas if earlier else 0
