from dataclasses import dataclass, field

import numpy as np
import pytest

from adapter_operator.planning import PlanningRequest, Verdict, VerificationSettings
from adapter_predictor.explanation import Explanation
from adapter_predictor.placement import AdapterDemand, Limits, Objectives
from adapter_predictor.prediction import PredictionBatch
from adapter_predictor.predictor import Predictor
from adapter_twin.memory import memory_verdict
from adapter_twin.profile import load_profile


class CapacityPredictor(Predictor):
    """Believes that a replica serves up to `capacity` requests/s, faster with a slot for each adapter."""

    source = "a belief"

    def __init__(self, profile, capacity):
        self.profile = profile
        self.capacity = capacity

    def predict_batch(self, loads):
        rates = np.array([loads.load(i).rate for i in range(len(loads))])
        served = np.minimum(1.0, self.capacity / np.maximum(rates, 1e-9))
        fits = np.array(
            [
                self.memory(int(s), int(r)).fits
                for s, r in zip(loads.max_loras, loads.max_lora_rank, strict=True)
            ]
        )
        served = np.where(fits, served, 0.0)
        tokens = served * rates * 400.0
        adapters = np.diff(loads.offsets)
        latency = 0.02 + 1e-4 * np.maximum(0, adapters - loads.max_loras)
        return PredictionBatch(fits, served, tokens, latency, latency, served, tokens, latency, latency)

    def memory(self, max_loras, max_lora_rank):
        return memory_verdict(self.profile, max_loras, max_lora_rank)

    def explain(self, load, served_fraction=0.95):
        return Explanation(
            (f"requests: {load.rate:.3g}/s",), f"a further replica above {self.capacity:.3g} req/s"
        )


@dataclass
class ScriptedVerifier:
    """Answers what a function of the plan says, and remembers what it was asked."""

    answer: object
    asked: list = field(default_factory=list)

    def verify(self, request, plan, deadline):
        self.asked.append(plan)
        reason = self.answer(plan)
        return Verdict(
            status="Rejected" if reason else "Verified",
            reason=reason,
            message=f"scripted for {plan.replicas} replicas",
            plan_hash=plan.hash,
            profile_hash=request.profile.content_hash,
            margin=-0.1 if reason else 0.1,
        )


@pytest.fixture(scope="session")
def profile():
    return load_profile("llama-3.1-8b-instruct-h100-64gb")


@pytest.fixture
def believe(profile):
    """A predictor that believes in so many requests/s for each replica."""
    return lambda capacity: CapacityPredictor(profile, capacity)


@pytest.fixture
def scripted():
    return ScriptedVerifier


@pytest.fixture
def request_for(profile):
    """A request for equal adapters, quick to simulate."""

    def build(adapters=24, rate=0.5, rank=16, **changes):
        settings = {
            "name": "test",
            "profile": profile,
            "adapters": tuple(AdapterDemand(f"a-{i:03}", rate, rank) for i in range(adapters)),
            "objectives": Objectives(served_fraction=0.9, headroom=0.0),
            "limits": Limits(1, 6),
            "verification": VerificationSettings(horizon_s=600.0, seeds=1, timeout_s=300.0),
        }
        return PlanningRequest(**(settings | changes))

    return build


@pytest.fixture
def small_gpu(profile):
    """The profile on a GPU that holds the weights and little else."""
    gpu = profile.gpu.model_copy(update={"memory_bytes": 24 * 2**30, "name": "SMALL-24GB"})
    return type(profile).model_validate(profile.model_dump() | {"gpu": gpu.model_dump(), "name": "small"})
