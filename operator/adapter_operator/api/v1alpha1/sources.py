"""Where the weights of models and adapters come from, and which profile describes the engine."""

from typing import ClassVar

from adapter_operator.api.base import ApiModel, Rule, unless
from adapter_operator.api.text import (
    AbsolutePath,
    ConfigKey,
    DnsName,
    HttpUrl,
    RelativePath,
    Repository,
    Revision,
    S3Uri,
    Sha256,
)


class HuggingFaceSource(ApiModel):
    """A repository of the Hugging Face hub."""

    repository: Repository
    revision: Revision = "main"


class VolumeClaimSource(ApiModel):
    """A folder of a PersistentVolumeClaim in the object's namespace."""

    claim_name: DnsName
    path: RelativePath | None = None


class S3Source(ApiModel):
    """A prefix in an S3-compatible object store."""

    uri: S3Uri
    endpoint: HttpUrl | None = None


class HttpSource(ApiModel):
    """An archive fetched over HTTP."""

    url: HttpUrl
    sha256: Sha256 | None = None


class ModelSource(ApiModel):
    """Where the base model's weights come from: exactly one of the fields."""

    hugging_face: HuggingFaceSource | None = None
    path: AbsolutePath | None = None
    pvc: VolumeClaimSource | None = None

    rules: ClassVar = (
        Rule(
            "set exactly one of huggingFace, path and pvc",
            unless(lambda source: _one_set(source.hugging_face, source.path, source.pvc)),
        ),
    )


class AdapterSource(ApiModel):
    """Where an adapter's files come from: exactly one of the fields."""

    hugging_face: HuggingFaceSource | None = None
    path: AbsolutePath | None = None
    pvc: VolumeClaimSource | None = None
    s3: S3Source | None = None
    http: HttpSource | None = None

    rules: ClassVar = (
        Rule(
            "set exactly one of huggingFace, path, pvc, s3 and http",
            unless(
                lambda source: _one_set(source.hugging_face, source.path, source.pvc, source.s3, source.http)
            ),
        ),
    )


class ConfigMapKey(ApiModel):
    """One key of a ConfigMap in the object's namespace."""

    name: DnsName
    key: ConfigKey


class ProfileReference(ApiModel):
    """What the twin knows of the engine: a shipped profile by name, or one in a ConfigMap."""

    name: DnsName | None = None
    config_map: ConfigMapKey | None = None

    rules: ClassVar = (
        Rule(
            "set exactly one of name and configMap",
            unless(lambda profile: _one_set(profile.name, profile.config_map)),
        ),
    )


def _one_set(*fields: object) -> bool:
    return sum(field is not None for field in fields) == 1
