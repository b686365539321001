"""Kopf's handlers: they only turn events into keys of the queue, and know which objects there are.

Event handlers and an index, and nothing else: these need no finalizers and write nothing into objects.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import kopf

from adapter_operator.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION
from adapter_operator.kubernetes.manifests import names
from adapter_operator.kubernetes.observation import owner_name
from adapter_operator.reconcile.inputs import document_references
from adapter_operator.reconcile.values import ObjectKey

OWNED_SELECTOR: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGER}"

Enqueue = Callable[[ObjectKey], None]


class KnownObjects:
    """The AdapterDeployments that exist, as the watch tells, and the ConfigMaps that they refer to."""

    def __init__(self) -> None:
        self._references: dict[ObjectKey, frozenset[str]] = {}

    def __iter__(self) -> Iterator[ObjectKey]:
        return iter(tuple(self._references))

    def __len__(self) -> int:
        return len(self._references)

    def note(self, key: ObjectKey, spec: Mapping[str, Any]) -> None:
        """An object exists."""
        self._references[key] = frozenset(name for name, _ in document_references(spec))

    def forget(self, key: ObjectKey) -> None:
        """An object is gone."""
        self._references.pop(key, None)

    def referring_to(self, namespace: str, config_map: str) -> list[ObjectKey]:
        """The objects whose specs refer to a ConfigMap."""
        return [
            key
            for key, references in self._references.items()
            if key.namespace == namespace and config_map in references
        ]


def register(registry: kopf.OperatorRegistry, enqueue: Enqueue, known: KnownObjects) -> None:
    """Register the handlers: every event of an object, or of what it owns, asks for work on it."""

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def adapter_deployment(namespace: str, name: str, event: Any, spec: Any, **_: Any) -> None:
        key = ObjectKey(namespace, name)
        if event["type"] == "DELETED":
            known.forget(key)
        else:
            known.note(key, spec)
        enqueue(key)

    @kopf.on.event("apps", "v1", "statefulsets", registry=registry)  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def stateful_set(namespace: str, body: Any, **_: Any) -> None:
        owner = owner_name(body, KIND)
        if owner is not None:
            enqueue(ObjectKey(namespace, owner))

    @kopf.on.event("v1", "pods", registry=registry)  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def engine(namespace: str, labels: Any, **_: Any) -> None:
        if names.DEPLOYMENT_LABEL in labels:
            enqueue(ObjectKey(namespace, labels[names.DEPLOYMENT_LABEL]))

    @kopf.on.event("v1", "configmaps", registry=registry)  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def config_map(namespace: str, name: str, event: Any, body: Any, **_: Any) -> None:
        owner = owner_name(body, KIND)
        if owner is not None and event["type"] == "DELETED":
            enqueue(ObjectKey(namespace, owner))
        for key in known.referring_to(namespace, name):
            enqueue(key)


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf as we use it: it watches, and writes neither Events nor annotations nor finalizers."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    for plural in ("statefulsets", "pods"):
        settings.watching.label_selectors[plural] = OWNED_SELECTOR
    return settings
