"""Errors of planning that a person can mend."""

from adapter_twin.errors import AdaptwinError


class PlanningError(AdaptwinError):
    """A request that cannot be planned; the message names the field and what is allowed."""
