import numpy as np
import pytest
from typer.testing import CliRunner

from adapter_operator.cli import app
from adapter_predictor.explanation import Explanation
from adapter_predictor.prediction import PredictionBatch
from adapter_predictor.predictor import Predictor
from adapter_twin.memory import memory_verdict

SPEC = """
apiVersion: adaptwin.io/v1alpha1
kind: AdapterDeployment
metadata: {name: support}
spec:
  model:
    name: llama-3.1-8b-instruct
    source: {huggingFace: {repository: meta-llama/Llama-3.1-8B-Instruct}}
  profile: {name: llama-3.1-8b-instruct-h100-64gb}
  verification: {horizon: 10m, seeds: 1}
  adapters:
    - {name: billing, rank: 16, rate: "1.5", source: {path: /adapters/billing}}
    - {name: "<b>returns</b>", rank: 8, rate: "0.2", source: {path: /adapters/returns}}
    - {name: "fx$rates$", rank: 8, rate: "0.1", source: {path: /adapters/fx}}
    - {name: night-shift, rank: 8, rate: 2m, source: {path: /adapters/night}}
"""

HOPELESS = SPEC.replace('"1.5"', '"60"').replace("  adapters:", "  scaling: {maxReplicas: 1}\n  adapters:")


class CarefulPredictor(Predictor):
    """Believes in 15 requests/s for each replica: quick, and about right."""

    source = "a belief"

    def __init__(self, profile):
        self.profile = profile

    def predict_batch(self, loads):
        rates = np.array([loads.load(i).rate for i in range(len(loads))])
        served = np.minimum(1.0, 15.0 / np.maximum(rates, 1e-9))
        latency = np.full(len(rates), 0.01)
        fits = np.ones(len(rates), dtype=np.bool_)
        return PredictionBatch(
            fits, served, served * rates * 400, latency, latency, served, served, latency, latency
        )

    def memory(self, max_loras, max_lora_rank):
        return memory_verdict(self.profile, max_loras, max_lora_rank)

    def explain(self, load, served_fraction=0.95):
        return Explanation(("requests: few",), "a further replica is needed above 15 req/s")


@pytest.fixture
def adaptwin(monkeypatch):
    """Runs the command as a person would, but with a predictor that is quick."""
    monkeypatch.setattr(Predictor, "for_profile", classmethod(lambda cls, profile: CarefulPredictor(profile)))
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def spec(tmp_path):
    file = tmp_path / "support.yaml"
    file.write_text(SPEC)
    return file


@pytest.fixture
def hopeless(tmp_path):
    file = tmp_path / "hopeless.yaml"
    file.write_text(HOPELESS)
    return file


@pytest.fixture
def spec_text():
    return SPEC
