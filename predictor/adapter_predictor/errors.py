"""Errors of the predictor and the placement that a person can mend."""

from adapter_twin.errors import AdaptwinError


class PlanError(AdaptwinError):
    """A plan whose pools and assignment contradict one another."""


class PredictionError(AdaptwinError):
    """A load that cannot be predicted: rates, tokens or slots out of range."""


class ArtifactError(AdaptwinError):
    """An artifact that cannot be read, was altered, or belongs to another profile."""


class PlacementError(AdaptwinError):
    """A placement that was asked for with impossible numbers."""


class DatasetError(AdaptwinError):
    """A dataset that cannot be read, or that continues another one's settings."""


class ComparisonError(AdaptwinError):
    """A comparison of workloads or placements that do not exist."""
