"""Names, labels and annotations of owned objects.

The name of an AdapterDeployment is a DNS label of at most 40 characters: all that is made from it fits.
Names of adapters are free text and never become names of objects.
"""

from collections.abc import Mapping
from typing import Any, Final

from adapter_operator.api.v1alpha1 import GROUP

DEPLOYMENT_LABEL: Final = f"{GROUP}/deployment"
POOL_LABEL: Final = f"{GROUP}/pool"
ROLE_LABEL: Final = f"{GROUP}/role"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "adaptwin"

GENERATION_ANNOTATION: Final = f"{GROUP}/plan-generation"
INPUTS_ANNOTATION: Final = f"{GROUP}/plan-inputs"

ENGINE_ROLE: Final = "engine"
PLAN_ROLE: Final = "plan"
ASSIGNMENT_ROLE: Final = "assignment"

PLAN_KEY: Final = "plan.json"


def pool_object_name(deployment: str, pool: str) -> str:
    """Name of a pool's StatefulSet; its pods' names follow from it."""
    return f"{deployment}-{pool}"


def service_name(deployment: str) -> str:
    """Name of the headless Service in front of all engines."""
    return f"{deployment}-engines"


def assignment_name(deployment: str, pool: str) -> str:
    """Name of a pool's assignment ConfigMap."""
    return f"{pool_object_name(deployment, pool)}-assignment"


def owner_labels(deployment: str, role: str) -> dict[str, str]:
    """Labels of everything that an AdapterDeployment owns."""
    return {
        MANAGED_BY_LABEL: MANAGER,
        DEPLOYMENT_LABEL: deployment,
        ROLE_LABEL: role,
    }


def owned_selector(deployment: str, role: str | None = None) -> str:
    """Label selector of what an AdapterDeployment owns."""
    selector = f"{DEPLOYMENT_LABEL}={deployment}"
    return selector if role is None else f"{selector},{ROLE_LABEL}={role}"


def owned_by(manifest: Mapping[str, Any], uid: str) -> bool:
    """Whether an object is owned by the AdapterDeployment with this uid, and not by a namesake."""
    owners = manifest["metadata"].get("ownerReferences", ())
    return any(owner["uid"] == uid for owner in owners)
