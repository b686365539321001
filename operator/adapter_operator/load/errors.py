"""Errors of the load generator that a person can mend."""

from adapter_twin.errors import AdaptwinError


class LoadError(AdaptwinError):
    """Traffic that cannot be sent: what is wrong with the file, an option, or the server."""
