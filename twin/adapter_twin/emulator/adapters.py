"""The adapters that the server knows, and whether their files are what vLLM would load."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from adapter_twin.emulator.errors import ApiError

WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter that requests may name."""

    name: str
    path: str
    rank: int
    index: int
    """The engine's number for it."""
    created: int
    """Unix seconds."""


class AdapterRegistry:
    """Adapters by name, in the order in which they were loaded. Forgetting a name unloads nothing."""

    def __init__(self, base_names: tuple[str, ...], max_lora_rank: int, *, enabled: bool) -> None:
        self._base_names = base_names
        self._max_lora_rank = max_lora_rank
        self._enabled = enabled
        self._loaded: dict[str, LoadedAdapter] = {}

    @property
    def loaded(self) -> list[LoadedAdapter]:
        """All, in order."""
        return list(self._loaded.values())

    def get(self, name: str) -> LoadedAdapter | None:
        """The adapter of a name, if there is one."""
        return self._loaded.get(name)

    def add(self, adapter: LoadedAdapter) -> None:
        """Know an adapter from now on; one that is loaded in place keeps its place."""
        self._loaded[adapter.name] = adapter

    def remove(self, name: str) -> LoadedAdapter:
        """Forget an adapter.

        Raises:
            ApiError: there is none of that name.
        """
        if not name:
            raise _invalid("'lora_name' needs to be provided to unload a LoRA adapter.")
        adapter = self._loaded.pop(name, None)
        if adapter is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"The lora adapter '{name}' cannot be found.")
        return adapter

    def check_name(self, name: str, path: str, *, in_place: bool) -> None:
        """Whether an adapter may get that name.

        Raises:
            ApiError: it may not.
        """
        if not (name and path):
            raise _invalid("Both 'lora_name' and 'lora_path' must be provided.")
        if name in self._base_names:
            raise _invalid(f"The lora adapter '{name}' conflicts with a served base model.")
        if name in self._loaded and not in_place:
            raise _invalid(
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in "
                "place, set 'load_inplace' to True."
            )

    def check_files(self, name: str, path: str) -> int:
        """The rank of the adapter in a folder.

        Raises:
            ApiError: vLLM would not load it.
        """
        if not self._enabled:
            raise ApiError(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "Call to add_lora method failed: LoRA is not enabled. Use --enable-lora to enable LoRA.",
            )
        folder = Path(path).expanduser()
        if folder.is_file():
            raise worker_error(f"[Errno 20] Not a directory: '{folder / 'adapter_config.json'}'")
        config = folder / "adapter_config.json"
        if not config.is_file():
            raise ApiError(HTTPStatus.NOT_FOUND, f"Loading lora {name} failed: No adapter found for {path}")
        rank = self._rank(config)
        if not any((folder / weights).is_file() for weights in WEIGHTS):
            raise worker_error(f"{path} doesn't contain tensors")
        return rank

    def _rank(self, config: Path) -> int:
        try:
            content: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
            rank = int(content["r"])
        except (OSError, ValueError, TypeError) as error:
            raise worker_error(str(error)) from error
        except KeyError as error:
            raise worker_error("PEFTHelper.__init__() missing 1 required positional argument: 'r'") from error
        if rank > self._max_lora_rank:
            raise worker_error(f"LoRA rank {rank} is greater than max_lora_rank {self._max_lora_rank}.")
        if content.get("use_dora"):
            raise worker_error("vLLM does not yet support DoRA.")
        return rank


def worker_error(problem: str) -> ApiError:
    """What vLLM answers when its worker cannot load an adapter."""
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"Call to add_lora method failed: Worker failed with error '{problem}', please check the stack trace "
        "above for the root cause",
    )


def _invalid(message: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, message, type_="InvalidUserInput")
