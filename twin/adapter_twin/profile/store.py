"""Reading profiles: the shipped ones by name, any other from a JSON file."""

import json
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from adapter_twin.errors import ProfileError
from adapter_twin.profile.model import Profile

_SHIPPED = resources.files("adapter_twin.profile") / "data"


def available_profiles() -> list[str]:
    """Names of the profiles that are shipped."""
    return sorted(f.name.removesuffix(".json") for f in _SHIPPED.iterdir() if f.name.endswith(".json"))


def load_profile(name_or_path: str | Path) -> Profile:
    """A shipped profile by its name, or the profile in a JSON file.

    Raises:
        ProfileError: there is no such profile, or the file does not hold one.
    """
    name = str(name_or_path)
    if name in available_profiles():
        return parse_profile((_SHIPPED / f"{name}.json").read_text(encoding="utf-8"), name)
    path = Path(name)
    if path.suffix != ".json":
        known = ", ".join(available_profiles())
        raise ProfileError(
            f"profile: there is none named {name!r}; shipped are {known}, or give a .json file"
        )
    try:
        return parse_profile(path.read_text(encoding="utf-8"), name)
    except OSError as error:
        raise ProfileError(f"profile: cannot read {name}: {error.strerror}") from error


def parse_profile(text: str, source: str) -> Profile:
    """The profile in a JSON text; `source` names it in errors."""
    try:
        return Profile.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise ProfileError(f"profile: {source} is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ProfileError(f"profile: {source}: {field}: {first['msg']}") from error


def profile_json(profile: Profile) -> str:
    """The profile as it is stored: readable, stable, ending in a newline."""
    return json.dumps(profile.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
