"""What may go wrong in the loop itself and is tried again; a user cannot mend these."""


class ReconcileError(Exception):
    """Base of the loop's own errors."""


class PlannerError(ReconcileError):
    """Planning could not be carried out."""


class ClusterError(ReconcileError):
    """The cluster refused, or could not be reached."""

    @property
    def refused(self) -> bool:
        """Whether trying again will not help until somebody changes something."""
        return False
