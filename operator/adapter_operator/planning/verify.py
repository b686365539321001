"""Putting a plan before the twin. Nothing is applied that has not been through here."""

from dataclasses import dataclass, replace
from typing import Protocol

from adapter_operator.planning.judge import judge
from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import Reason, Verdict
from adapter_operator.planning.wording import plural
from adapter_predictor.deadline import Deadline
from adapter_predictor.plan import Plan, to_fleet
from adapter_twin.fleet import FleetReplica, FleetReport, simulate_static
from adapter_twin.profile import Profile
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload import Adapter, LengthDistribution, Lognormal, Workload

CLEAR_FAILURE = -0.05
"""A plan that misses an objective by more than this with one seed is not saved by the others."""


class Verifier(Protocol):
    """Says whether a plan meets the objectives of a request."""

    def verify(self, request: PlanningRequest, plan: Plan, deadline: Deadline) -> Verdict:
        """The verdict on exactly this plan; Rejected with `Timeout` where the deadline passes first."""
        ...


@dataclass(frozen=True)
class TwinVerifier:
    """Simulates the plan with the demanded rates, a seed at a time, and judges what came out.

    Attributes:
        threads: Replicas simulated at once.
    """

    threads: int = 1

    def verify(self, request: PlanningRequest, plan: Plan, deadline: Deadline) -> Verdict:
        """Several seeds; fewer where the first of them already fail clearly."""
        if lacking := lacking_copies(request, plan):
            return rejected(request, plan, "ObjectivesUnreachable", lacking)
        fleet, workload = to_fleet(plan), demanded_workload(request)
        reports: list[FleetReport] = []
        verdict = timed_out(request, plan)
        for seed in request.verification_seeds:
            if deadline.expired:
                return replace(timed_out(request, plan), replicas=verdict.replicas)
            reports.append(simulate_static(request.profile, fleet, workload, seed=seed, threads=self.threads))
            verdict = judge(request, plan, reports)
            if verdict.reason == "OutOfMemory" or (verdict.margin or 0.0) < CLEAR_FAILURE:
                break
        return verdict


def warm_up(profile: Profile) -> None:
    """Have the twin compiled, or loaded from where it was compiled before: verifying takes no longer then."""
    minute = Workload.for_profile(profile, (Adapter("any", 0.1, 8),), 60.0)
    simulate_static(profile, [FleetReplica("any", ReplicaConfig(8, 8), (("any", 1.0),))], minute, seed=0)


def demanded_workload(request: PlanningRequest) -> Workload:
    """The traffic that a plan must carry: the adapters with headroom, lengths and arrivals as asked."""
    workload = Workload.for_profile(
        request.profile, request.demanded_adapters(), request.verification.horizon_s, request.arrivals
    )
    if request.tokens is None:
        return workload
    return replace(
        workload,
        prompt=_with_mean(workload.prompt, request.tokens.prompt),
        output=_with_mean(workload.output, request.tokens.output),
    )


def lacking_copies(request: PlanningRequest, plan: Plan) -> str:
    """Which adapter is on fewer replicas than it must be; empty where none is."""
    for adapter in request.adapters:
        copies = len(plan.shares.get(adapter.name, {}))
        if copies < adapter.min_copies:
            return f"adapter {adapter.name} is on {plural(copies, 'replica')}, below its {adapter.min_copies}"
    return ""


def timed_out(request: PlanningRequest, plan: Plan | None) -> Verdict:
    """The verdict on a plan for which time ran out."""
    seconds = request.verification.timeout_s
    return rejected(request, plan, "Timeout", f"verification did not finish within {seconds:g} s")


def rejected(request: PlanningRequest, plan: Plan | None, reason: Reason, message: str) -> Verdict:
    """A verdict for which nothing was simulated to the end."""
    return Verdict(
        status="Rejected",
        reason=reason,
        message=message,
        plan_hash=plan.hash if plan else "",
        profile_hash=request.profile.content_hash,
        horizon_s=request.verification.horizon_s,
    )


def _with_mean(lengths: LengthDistribution, mean: float) -> LengthDistribution:
    """The same shape of distribution with another mean."""
    if not isinstance(lengths, Lognormal):
        raise TypeError(f"only lognormal lengths can be scaled to a mean, not {type(lengths).__name__}")
    return replace(lengths, mean=mean)
