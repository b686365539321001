"""Profiles: everything the twin knows of one (model, GPU, tensor parallel size, engine version)."""

from adapter_twin.profile.model import (
    AllocatorCoefficients,
    EngineDefaults,
    FitReport,
    FrontEndCoefficients,
    Gpu,
    LengthAssumptions,
    LoadingCoefficients,
    ModelGeometry,
    Profile,
    StartupTimes,
    StepTimeCoefficients,
    TokenLengths,
    ValidityRange,
)
from adapter_twin.profile.store import available_profiles, load_profile, parse_profile, profile_json

__all__ = [
    "AllocatorCoefficients",
    "EngineDefaults",
    "FitReport",
    "FrontEndCoefficients",
    "Gpu",
    "LengthAssumptions",
    "LoadingCoefficients",
    "ModelGeometry",
    "Profile",
    "StartupTimes",
    "StepTimeCoefficients",
    "TokenLengths",
    "ValidityRange",
    "available_profiles",
    "load_profile",
    "parse_profile",
    "profile_json",
]
