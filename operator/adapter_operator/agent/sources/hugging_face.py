"""Adapters in a repository of the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter_operator.agent.errors import AdapterError, Reason, not_installed
from adapter_operator.agent.sources.base import Fetched

if TYPE_CHECKING:
    from pathlib import Path

PATTERNS: Final = (
    "adapter_config.json",
    "adapter_model.*",
    "new_embeddings.safetensors",
    "*.jinja",
    "token*",
)
_DIGITS: Final = 16


@dataclass(frozen=True)
class HuggingFaceRepository:
    """A repository at a revision; the token, if one is needed, is in `HF_TOKEN`."""

    repository: str
    revision: str
    endpoint: str | None = None
    """The hub's address; `HF_ENDPOINT`, or Hugging Face's own, where None."""

    def fetch(self, folder: Path) -> Fetched:
        """Download the adapter's files at the commit that the revision names now."""
        try:
            from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 - heavy, and only needed here
        except ModuleNotFoundError as error:
            raise AdapterError(Reason.SOURCE_NOT_FOUND, not_installed(error)) from error
        from huggingface_hub.errors import (  # noqa: PLC0415
            GatedRepoError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        target = folder / "repository"
        try:
            commit = (
                HfApi(endpoint=self.endpoint).model_info(self.repository, revision=self.revision).sha
                or self.revision
            )
            snapshot_download(
                self.repository,
                revision=commit,
                local_dir=target,
                allow_patterns=list(PATTERNS),
                endpoint=self.endpoint,
            )
        except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as error:
            raise AdapterError(Reason.SOURCE_NOT_FOUND, f"{self}: not there, or not to be read") from error
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise AdapterError(Reason.SOURCE_UNREACHABLE, f"{self}: {reason}") from error
        return Fetched(target, commit[:_DIGITS])

    def __str__(self) -> str:
        return f"hf://{self.repository}@{self.revision}"
