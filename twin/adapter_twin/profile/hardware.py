"""GPUs by name, from their data sheets: total memory, memory bandwidth, dense bf16 FLOP/s."""

import json
from importlib import resources

from adapter_twin.errors import ProfileError
from adapter_twin.profile.model import Gpu


def known_gpus() -> dict[str, Gpu]:
    """The shipped GPU descriptions by name."""
    text = (resources.files("adapter_twin.profile") / "gpus.json").read_text(encoding="utf-8")
    return {name: Gpu(name=name, **sheet) for name, sheet in json.loads(text).items()}


def load_gpu(name: str) -> Gpu:
    """A shipped GPU description.

    Raises:
        ProfileError: there is none of that name.
    """
    gpus = known_gpus()
    if name not in gpus:
        raise ProfileError(f"gpu: there is none named {name!r}; known are {', '.join(gpus)}")
    return gpus[name]
