"""A predictor that needs no training."""

import pytest

from adapter_predictor.predictor import SteadyStatePredictor
from adapter_twin.profile import load_profile


@pytest.fixture(scope="session")
def steady():
    return SteadyStatePredictor(load_profile("llama-3.1-8b-instruct-h100-64gb"))
