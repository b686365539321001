"""From the source that an AdapterDeployment names to the one that fetches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adapter_operator.agent.sources.archive import HttpArchive
from adapter_operator.agent.sources.hugging_face import HuggingFaceRepository
from adapter_operator.agent.sources.local import LocalFolder
from adapter_operator.agent.sources.object_store import S3Prefix

if TYPE_CHECKING:
    from adapter_operator.agent.sources.base import Source
    from adapter_operator.api.v1alpha1.sources import AdapterSource


def source_of(source: AdapterSource, volumes: Path) -> Source:
    """The source of an adapter.

    Args:
        source: As it is declared; exactly one of its fields is set.
        volumes: Where PersistentVolumeClaims are mounted, each in a folder with the claim's name.
    """
    if source.hugging_face is not None:
        return HuggingFaceRepository(source.hugging_face.repository, source.hugging_face.revision)
    if source.s3 is not None:
        return S3Prefix(source.s3.uri, source.s3.endpoint)
    if source.http is not None:
        return HttpArchive(source.http.url, source.http.sha256)
    if source.pvc is not None:
        return LocalFolder(volumes / source.pvc.claim_name / (source.pvc.path or ""))
    return LocalFolder(Path(source.path or ""))
