"""What may go wrong on one machine, and can be mended by whoever sits at it."""

from adapter_twin.errors import AdaptwinError


class LocalError(AdaptwinError):
    """Something that the local system needs is missing."""
