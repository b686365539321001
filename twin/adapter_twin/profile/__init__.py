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
from adapter_twin.profile.slora import SloraProfile
from adapter_twin.profile.store import (
    AnyProfile,
    available_profiles,
    available_slora_profiles,
    load_any_profile,
    load_profile,
    parse_profile,
    profile_json,
)

__all__ = [
    "AllocatorCoefficients",
    "AnyProfile",
    "EngineDefaults",
    "FitReport",
    "FrontEndCoefficients",
    "Gpu",
    "LengthAssumptions",
    "LoadingCoefficients",
    "ModelGeometry",
    "Profile",
    "SloraProfile",
    "StartupTimes",
    "StepTimeCoefficients",
    "TokenLengths",
    "ValidityRange",
    "available_profiles",
    "available_slora_profiles",
    "load_any_profile",
    "load_profile",
    "parse_profile",
    "profile_json",
]
