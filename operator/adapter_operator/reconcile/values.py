"""The values that the reconcile loop passes between its steps. All frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from adapter_operator.api.v1alpha1 import AdapterDeployment
from adapter_operator.reconcile.moves import Routes
from adapter_operator.reconcile.rollout import PoolState
from adapter_predictor.plan import Plan, Pool
from adapter_twin.profile import Profile


@dataclass(frozen=True, order=True)
class ObjectKey:
    """An AdapterDeployment by name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class PlanRecord:
    """A verified plan that is, or was, in force.

    Attributes:
        plan: The plan.
        generation: Its number: the highest is in force; engines never go back to a lower one.
        inputs: Hash of what it was decided from.
    """

    plan: Plan
    generation: int
    inputs: str

    def name(self, deployment: str) -> str:
        """The name under which the plan is kept, for this AdapterDeployment."""
        return f"{deployment}-plan-{self.plan.hash}"


@dataclass(frozen=True)
class ObservedPool:
    """A pool that exists.

    Attributes:
        state: Its replicas.
        assignments: What is published for each of its ordinals, as text.
    """

    state: PoolState
    assignments: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """An AdapterDeployment and what exists for it.

    Attributes:
        key: Its name.
        resource: The object as the cluster has it.
        pools: Its pools, by the names that plans give them.
        plans: Its verified plans, the one in force first.
        documents: Texts of other objects that its spec refers to, by (object, key).
        routes: Where requests are sent now, where that is known.
    """

    key: ObjectKey
    resource: Mapping[str, Any]
    pools: tuple[ObservedPool, ...] = ()
    plans: tuple[PlanRecord, ...] = ()
    documents: Mapping[tuple[str, str], str] = field(default_factory=dict)
    routes: Routes = field(default_factory=dict)

    @property
    def generation(self) -> int:
        """Generation of the spec."""
        return int(self.resource["metadata"]["generation"])

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.resource["metadata"]["uid"])

    @property
    def in_force(self) -> PlanRecord | None:
        """The plan in force."""
        return self.plans[0] if self.plans else None

    def asks_the_same_as(self, earlier: "Observed") -> bool:
        """Whether it is still that object with that spec, and not a namesake made since."""
        return (self.uid, self.generation) == (earlier.uid, earlier.generation)


@dataclass(frozen=True)
class DesiredPool:
    """A pool of the plan, as it should be now.

    Attributes:
        pool: Its name and engine configuration, from the plan.
        replicas: How many replicas it should have at this point of the rollout.
        assignments: What to publish for each ordinal: the adapters with their shares of traffic.
        carried: Texts to go on publishing for ordinals that the plan no longer has but that still serve.
    """

    pool: Pool
    replicas: int
    assignments: Mapping[int, Mapping[str, float]]
    carried: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Desired:
    """Everything that should exist for an AdapterDeployment.

    Attributes:
        deployment: The object.
        profile: What the twin knows of its engines.
        record: The verified plan in force.
        pools: The plan's pools.
        outgoing: Replicas that pools of earlier plans keep for now.
        retired: Pools of earlier plans that should be deleted.
        kept_plans: Hashes of the plans whose records should be kept.
        outgoing_assignments: What to publish for replicas of earlier plans' pools, by pool and ordinal; they
            keep what they have where it is empty.
        routes: Where requests shall be sent; None where nobody confirms what replicas hold.
    """

    deployment: AdapterDeployment
    profile: Profile
    record: PlanRecord
    pools: tuple[DesiredPool, ...]
    outgoing: Mapping[str, int] = field(default_factory=dict)
    retired: tuple[str, ...] = ()
    kept_plans: frozenset[str] = frozenset()
    outgoing_assignments: Mapping[str, Mapping[int, Mapping[str, float]]] = field(default_factory=dict)
    routes: Routes | None = None


@dataclass(frozen=True)
class EngineProblem:
    """An engine that cannot start.

    Attributes:
        engine: Its name.
        reason: One word.
        message: What is the matter, for a person.
    """

    engine: str
    reason: str
    message: str

    @property
    def lacks_gpus(self) -> bool:
        """Whether it waits for a GPU (or another resource of a node), and not for a volume, say."""
        return self.reason == "Unschedulable" and "Insufficient " in self.message


@dataclass(frozen=True)
class Announcement:
    """News of an object.

    Attributes:
        kind: Whether somebody should worry.
        reason: One word; the same that conditions use.
        action: What the operator did.
        message: The news in a sentence.
    """

    kind: Literal["Normal", "Warning"]
    reason: str
    action: str
    message: str
