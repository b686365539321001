"""Reading profiles: the shipped ones by name, any other from a JSON file."""

import json
from collections.abc import Callable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from adapter_twin.errors import ProfileError
from adapter_twin.profile.model import Profile
from adapter_twin.profile.slora import SloraProfile

_SHIPPED = resources.files("adapter_twin.profile") / "data"
_SHIPPED_SLORA = _SHIPPED / "slora"

AnyProfile = Profile | SloraProfile
_ProfileT = TypeVar("_ProfileT", Profile, AnyProfile)


def available_profiles() -> list[str]:
    """Names of the profiles of vLLM that are shipped."""
    return _names(_SHIPPED)


def available_slora_profiles() -> list[str]:
    """Names of the profiles of S-LoRA that are shipped."""
    return _names(_SHIPPED_SLORA)


def load_profile(name_or_path: str | Path) -> Profile:
    """A shipped profile of vLLM by its name, or the one in a JSON file.

    Raises:
        ProfileError: there is no such profile, the file does not hold one, or it is one of S-LoRA.
    """
    profile = load_any_profile(name_or_path)
    if isinstance(profile, SloraProfile):
        raise ProfileError(
            f"profile: {profile.name} is one of S-LoRA, which has no adapter slots to plan; "
            "a profile of vLLM is needed here"
        )
    return profile


def load_any_profile(name_or_path: str | Path) -> AnyProfile:
    """A profile of vLLM or of S-LoRA: a shipped one by its name, or the one in a JSON file.

    Raises:
        ProfileError: there is no such profile, or the file does not hold one.
    """
    name = str(name_or_path)
    for folder in (_SHIPPED, _SHIPPED_SLORA):
        if name in _names(folder):
            return parse_any_profile((folder / f"{name}.json").read_text(encoding="utf-8"), name)
    path = Path(name)
    if path.suffix != ".json":
        known = ", ".join([*available_profiles(), *available_slora_profiles()])
        raise ProfileError(
            f"profile: there is none named {name!r}; shipped are {known}, or give a .json file"
        )
    try:
        return parse_any_profile(path.read_text(encoding="utf-8"), name)
    except OSError as error:
        raise ProfileError(f"profile: cannot read {name}: {error.strerror}") from error


def parse_profile(text: str, source: str) -> Profile:
    """The profile of vLLM in a JSON text; `source` names it in errors."""
    return _parse(text, source, Profile.model_validate)


def parse_any_profile(text: str, source: str) -> AnyProfile:
    """The profile of vLLM or of S-LoRA in a JSON text; `source` names it in errors."""
    return _parse(text, source, _validated)


def _names(folder: Traversable) -> list[str]:
    return sorted(f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json"))


def _validated(content: Any) -> AnyProfile:
    engine = content.get("engine") if isinstance(content, dict) else None
    if isinstance(engine, dict) and engine.get("kind") == "slora":
        return SloraProfile.model_validate(content)
    return Profile.model_validate(content)


def _parse(text: str, source: str, validated: Callable[[Any], _ProfileT]) -> _ProfileT:
    try:
        return validated(json.loads(text))
    except json.JSONDecodeError as error:
        raise ProfileError(f"profile: {source} is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ProfileError(f"profile: {source}: {field}: {first['msg']}") from error


def profile_json(profile: AnyProfile) -> str:
    """The profile as it is stored: readable, stable, ending in a newline."""
    return json.dumps(profile.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
