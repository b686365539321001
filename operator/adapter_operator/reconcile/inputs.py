"""From an object to a planning request, and the hash of what a plan was decided from. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from adapter_operator.api.load import parse_adapter_deployment, parse_adapters
from adapter_operator.api.v1alpha1 import Adapter, AdapterDeployment, Spec
from adapter_operator.api.v1alpha1.sources import ConfigMapKey
from adapter_operator.errors import SpecError
from adapter_operator.planning import PlanningRequest, request_from_spec
from adapter_operator.reconcile.values import Observed
from adapter_twin.profile import Profile, parse_profile

Documents = Mapping[tuple[str, str], str]
"""Texts in ConfigMaps, by name of the ConfigMap and key."""


PLANNED_SECTIONS: Final[Mapping[str, set[str] | Literal[True]]] = {
    "model": True,
    "traffic": True,
    "objectives": True,
    "scaling": {"min_replicas", "max_replicas"},
    "capacity": {"max_gpus"},
    "verification": {"horizon", "seeds"},
    "engine": True,
}
"""Parts of a spec that plans depend on, besides adapters and profile."""


@dataclass(frozen=True)
class Intent:
    """What is to be planned, and for whom.

    Attributes:
        deployment: The object, its spec complete.
        request: What planning is asked.
        inputs: Hash of what the request was made from; the plan in force is not part of it.
    """

    deployment: AdapterDeployment
    request: PlanningRequest
    inputs: str


def inputs_hash(spec: Spec, profile_hash: str, observed_rates: Mapping[str, float] | None = None) -> str:
    """A hash of everything that the planning of a spec depends on.

    Fields that have their default value are left out: a new release that adds fields leaves hashes, and
    with them plans and engines, as they are. Nor do sources of adapters or rollout settings enter.
    """
    sections: dict[str, Any] = {
        section: getattr(spec, section).model_dump(
            mode="json", exclude_defaults=True, include=None if fields is True else fields
        )
        for section, fields in PLANNED_SECTIONS.items()
    }
    sections["adapters"] = sorted(
        (
            adapter.model_dump(mode="json", exclude_defaults=True, exclude={"source"})
            for adapter in spec.adapters
        ),
        key=lambda adapter: str(adapter["name"]),
    )
    content = [sections, profile_hash, None if observed_rates is None else sorted(observed_rates.items())]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def intent_of(observed: Observed, observed_rates: Mapping[str, float] | None) -> Intent:
    """What is to be planned for an object.

    Raises:
        AdaptwinError: naming the field at fault and what is allowed in it.
    """
    resource = observed.resource
    deployment = parse_adapter_deployment(
        {key: resource[key] for key in ("apiVersion", "kind", "metadata", "spec")}
    )
    more = _listed_adapters(deployment.spec, observed.documents)
    in_force = observed.in_force
    request = request_from_spec(
        deployment,
        present=in_force.plan if in_force else None,
        profile=_own_profile(deployment.spec, observed.documents),
        more_adapters=more,
        observed_rates=observed_rates,
    )
    spec = deployment.spec.model_copy(
        update={"adapters": (*deployment.spec.adapters, *more), "adapters_from": ()}
    )
    complete = deployment.model_copy(update={"spec": spec})
    return Intent(complete, request, inputs_hash(spec, request.profile.content_hash, observed_rates))


def document_references(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (ConfigMap, key) pairs that a spec refers to, as far as they can be made out."""
    lists = spec.get("adaptersFrom", ())
    sources = [item.get("configMap", {}) for item in lists] + [spec.get("profile", {}).get("configMap", {})]
    return [(source["name"], source["key"]) for source in sources if {"name", "key"} <= source.keys()]


def _own_profile(spec: Spec, documents: Documents) -> Profile | None:
    """The profile from a ConfigMap, where the spec names one."""
    source = spec.profile.config_map
    if source is None:
        return None
    text = _document(documents, source, "spec.profile.configMap")
    return parse_profile(text, f"spec.profile.configMap {source.name}/{source.key}")


def _listed_adapters(spec: Spec, documents: Documents) -> tuple[Adapter, ...]:
    """The adapters of all lists in ConfigMaps."""
    adapters: list[Adapter] = []
    for index, item in enumerate(spec.adapters_from):
        field = f"spec.adaptersFrom[{index}].configMap"
        adapters += parse_adapters(_document(documents, item.config_map, field), field)
    return tuple(adapters)


def _document(documents: Documents, source: ConfigMapKey, field: str) -> str:
    text = documents.get((source.name, source.key))
    if text is None:
        raise SpecError(
            f"{field}: there is no key {source.key} in a ConfigMap {source.name} of this namespace"
        )
    return text
