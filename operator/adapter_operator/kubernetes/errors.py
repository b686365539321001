"""What the API server may answer. Errors of the client libraries stay in `client.py`, chained as causes."""

from typing import Final

from adapter_operator.reconcile.errors import ClusterError
from adapter_twin.errors import AdaptwinError

REFUSALS: Final = frozenset({400, 403, 413, 422})
"""HTTP statuses that do not go away by themselves."""


class ConnectionSettingsError(AdaptwinError):
    """No usable credentials; the message says where they were looked for."""


class MissingResourceError(AdaptwinError):
    """The cluster is not prepared for the operator; the message says what to do."""


class ApiError(ClusterError):
    """The API server refused or could not be reached.

    Attributes:
        status: HTTP status; 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def refused(self) -> bool:
        """Whether RBAC, a quota, an admission policy or validation stands in the way."""
        return self.status in REFUSALS


class NotFoundError(ApiError):
    """There is no such object or resource."""


class ConflictError(ApiError):
    """The object has changed, or exists already."""


class ExpiredError(ApiError):
    """A version to watch from is too old: list again."""


class ForbiddenError(ApiError):
    """RBAC, a quota or an admission policy does not allow it."""


class InvalidError(ApiError):
    """The API server finds the object invalid."""


class LeadershipLostError(ApiError):
    """A write was held back because this process may no longer be the leader."""
