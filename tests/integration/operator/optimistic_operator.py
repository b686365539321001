"""An operator whose predictor is wrong on purpose: it believes that any replica serves everything.

Everything else is the real thing, the twin's verification above all.
"""

import argparse
import asyncio
from pathlib import Path

import numpy as np

from adapter_operator.kubernetes.logs import configure_logging
from adapter_operator.kubernetes.operator import run_operator
from adapter_operator.planning import decide
from adapter_operator.reconcile.planner import InlinePlanner
from adapter_operator.settings import LeaderSettings, OperatorSettings, ServerSettings
from adapter_predictor.explanation import Explanation
from adapter_predictor.prediction import PredictionBatch
from adapter_predictor.predictor import Predictor
from adapter_twin.memory import memory_verdict


class OptimisticPredictor(Predictor):
    """Says that every replica serves everything at once."""

    source = "hope"

    def __init__(self, profile):
        self.profile = profile

    def memory(self, max_loras, max_lora_rank):
        return memory_verdict(self.profile, max_loras, max_lora_rank)

    def predict_batch(self, loads):
        ones = np.ones(len(loads.max_loras))
        fast = ones * 0.001
        return PredictionBatch(ones > 0, ones, ones * 1e6, fast, fast, ones, ones * 1e6, fast, fast)

    def explain(self, load, served_fraction=0.95):
        return Explanation(path=("all will be well",), nearest_flip="never")


def decide_optimistically(request):
    return decide(request, predictor=OptimisticPredictor(request.profile))


def main():
    parser = argparse.ArgumentParser()
    for option in ("--kubeconfig", "--namespace", "--lease-namespace", "--identity"):
        parser.add_argument(option, required=True)
    options, _ = parser.parse_known_args()
    configure_logging("json", "info")
    settings = OperatorSettings(
        namespaces=(options.namespace,),
        kubeconfig=Path(options.kubeconfig),
        identity=options.identity,
        leader=LeaderSettings(namespace=options.lease_namespace),
        server=ServerSettings(metrics_port=0, liveness_port=0),
    )
    asyncio.run(run_operator(settings, InlinePlanner(decide=decide_optimistically)))


if __name__ == "__main__":
    main()
