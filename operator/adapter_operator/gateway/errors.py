"""Errors of the gateway that a person can mend."""

from adapter_twin.errors import AdaptwinError


class GatewayError(AdaptwinError):
    """A routing table or a setting of the gateway that cannot be."""
