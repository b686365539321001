"""A predictor that needs no training, and an artifact that needs no twin."""

import dataclasses

import numpy as np
import pytest

from adapter_predictor.artifact import (
    TARGETS,
    Artifact,
    Coverage,
    DatasetProvenance,
    DepthScore,
    FeatureRange,
    SimpleTree,
    TargetModel,
    TargetScores,
    TreeNodes,
    prediction_hash,
)
from adapter_predictor.features import FEATURE_INDEX, FEATURES
from adapter_predictor.load import ReplicaLoad
from adapter_predictor.predictor import SteadyStatePredictor
from adapter_twin.profile import load_profile


@pytest.fixture(scope="session")
def profile():
    return load_profile("llama-3.1-8b-instruct-h100-64gb")


@pytest.fixture(scope="session")
def steady(profile):
    return SteadyStatePredictor(profile)


@pytest.fixture(scope="session")
def load():
    """The example: 160 adapters, rates cycling."""
    rates = tuple((0.4, 0.05, 0.00625)[i % 3] for i in range(160))
    return ReplicaLoad(rates, 223.0, 194.0, 32, 32)


@pytest.fixture
def stump_nodes():
    """One question: is the utilisation at most 0.8?"""
    return TreeNodes(
        feature=[FEATURE_INDEX["utilisation"], -1, -1],
        threshold=[0.8, 0.0, 0.0],
        left=[1, -1, -1],
        right=[2, -1, -1],
        value=[0.9, 1.0, 0.8],
        low=[0.8, 0.98, 0.7],
        high=[1.0, 1.02, 0.9],
        samples=[50, 25, 25],
    )


@pytest.fixture
def artifact(profile, stump_nodes):
    scores = TargetScores(
        by_depth=[DepthScore(depth=1, leaves=2, mean_absolute_error=0.1)],
        mean_absolute_error=0.1,
        edge_mean_absolute_error=0.1,
        smape_percent=5.0,
        physics_smape_percent=8.0,
        simple_mean_absolute_error=0.2,
        simple_smape_percent=10.0,
        coverage=[Coverage(nominal_percent=90.0, percent=91.0, edge_percent=90.0)],
    )
    scales = dict(
        zip(TARGETS, ("steady_served", "steady_throughput", "steady_itl", "steady_ttft"), strict=True)
    )
    return Artifact(
        profile=profile.name,
        profile_hash=prediction_hash(profile),
        datasets=[
            DatasetProvenance(profile=profile.name, seed=0, samples=50, horizon_s=600.0, code_version="0")
        ],
        bound_percent=90.0,
        features=[FeatureRange(name=feature.name, lower=0.0, upper=1e9) for feature in FEATURES],
        targets={
            name: TargetModel(
                scale=scales[name],
                tree=stump_nodes,
                simple=SimpleTree(scale=scales[name], tree=stump_nodes),
                importances={"utilisation": 1.0},
                scores=scores,
            )
            for name in TARGETS
        },
    ).sealed()


@pytest.fixture
def with_slots():
    return lambda load, slots, rank=None: dataclasses.replace(
        load, max_loras=slots, max_lora_rank=rank or load.max_lora_rank
    )


@pytest.fixture
def rng():
    return np.random.default_rng(0)
