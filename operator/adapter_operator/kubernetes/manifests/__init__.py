"""The objects that an AdapterDeployment owns, rendered from what is desired. Pure."""

from adapter_operator.kubernetes.manifests.objects import render

__all__ = ["render"]
