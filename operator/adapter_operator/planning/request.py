"""What planning is asked: everything that the decision depends on, in one frozen value."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal

from adapter_operator.planning.errors import PlanningError
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, TokenMeans
from adapter_predictor.plan import Plan
from adapter_twin.profile import Profile
from adapter_twin.workload import Adapter, ArrivalProcess, Poisson

OnFailure = Literal["BestEffort", "KeepLast"]


@dataclass(frozen=True)
class VerificationSettings:
    """How thoroughly the twin checks a plan.

    Attributes:
        horizon_s: Simulated seconds for each seed.
        seeds: How many times it is simulated, each with its own arrivals.
        timeout_s: Wall-clock seconds that planning and verification may take together.
        on_failure: What the operator does with a plan that misses the objectives.
    """

    horizon_s: float = 3600.0
    seeds: int = 2
    timeout_s: float = 120.0
    on_failure: OnFailure = "BestEffort"

    def __post_init__(self) -> None:
        if not 60.0 <= self.horizon_s <= 86_400.0:
            raise PlanningError(f"verification.horizon: {self.horizon_s:g} s is not between 1m and 24h")
        if not 1 <= self.seeds <= 20:
            raise PlanningError(f"verification.seeds: {self.seeds} is not between 1 and 20")


@dataclass(frozen=True)
class PlanningRequest:
    """What is to be planned.

    Attributes:
        name: What the plan is for, as people call it.
        profile: What the twin knows of model, GPU and engine.
        adapters: The adapters with their rates (requests/s), ranks and copies.
        objectives: What every replica must reach.
        limits: How many replicas and GPUs there may be.
        verification: How the twin checks it.
        arrivals: How each adapter's requests are spread over time.
        tokens: Mean tokens of a request; the profile's where None.
        present: The plan that runs now.
        engine: A fingerprint of the rest of the engine's configuration; it enters the pools' names.
    """

    name: str
    profile: Profile
    adapters: tuple[AdapterDemand, ...]
    objectives: Objectives = field(default_factory=Objectives)
    limits: Limits = field(default_factory=Limits)
    verification: VerificationSettings = field(default_factory=VerificationSettings)
    arrivals: ArrivalProcess = field(default_factory=Poisson)
    tokens: TokenMeans | None = None
    present: Plan | None = None
    engine: str = ""

    @property
    def total_rate(self) -> float:
        """Requests/s of all adapters together, without headroom."""
        return sum(adapter.rate for adapter in self.adapters)

    @property
    def headroom(self) -> float:
        """Headroom of the objectives, and on top the profile's own safety margin."""
        return self.objectives.headroom + self.profile.safety_margin_percent / 100.0

    @property
    def demand_factor(self) -> float:
        """By how much rates are multiplied when a plan is placed and verified."""
        return 1.0 + self.headroom

    def demanded_adapters(self, scale: float = 1.0) -> tuple[Adapter, ...]:
        """The adapters as the twin sees them, with headroom."""
        factor = self.demand_factor * scale
        return tuple(Adapter(a.name, a.rate * factor, a.rank) for a in self.adapters)

    @cached_property
    def verification_seeds(self) -> tuple[int, ...]:
        """Seeds of the twin's arrivals, drawn from a hash of what is asked.

        The same request is always judged by the same arrivals, so that its plans can be compared; no other
        simulation (the predictor's training least of all) takes its seeds from here.
        """
        content = [self.profile.content_hash, [asdict(a) for a in self.adapters], self.verification.horizon_s]
        text = json.dumps(["verification", content], sort_keys=True)
        return tuple(_seed(text, index) for index in range(self.verification.seeds))


def _seed(text: str, index: int) -> int:
    """A 32-bit seed named by a text and an index."""
    return int.from_bytes(hashlib.sha256(f"{text}/{index}".encode()).digest()[:4])
