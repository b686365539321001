"""Errors of observing traffic."""

from adapter_twin.errors import AdaptwinError


class TrafficError(AdaptwinError):
    """Traffic that cannot be observed, in one sentence."""
