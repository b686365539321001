"""Files that stand in for adapters: emulated engines look at the rank and load no weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from adapter_operator.api.v1alpha1.sources import AdapterSource

if TYPE_CHECKING:
    from pathlib import Path

    from adapter_operator.api.v1alpha1 import Adapter

_NO_TENSORS: Final = (2).to_bytes(8, "little") + b"{}"
"""A file of safetensors that holds none."""


class StandIns:
    """A folder of adapters' files; sources that lie elsewhere are not fetched, but stood in for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ranks: list[int] = []

    def source(self, adapter: Adapter) -> AdapterSource:
        """Where the agents find an adapter: paths are taken as they are."""
        if adapter.source.path is not None:
            return adapter.source
        return AdapterSource(path=str(self._of_rank(adapter.rank)))

    def _of_rank(self, rank: int) -> Path:
        folder = self._folder / f"rank-{rank}"
        if rank not in self._ranks:
            folder.mkdir(parents=True, exist_ok=True)
            config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj"]}
            (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
            (folder / "adapter_model.safetensors").write_bytes(_NO_TENSORS)
            self._ranks.append(rank)
        return folder
