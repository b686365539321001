"""Where traffic is not observed: the declared rates hold."""

from collections.abc import Mapping

from adapter_operator.reconcile.values import ObjectKey


class DeclaredTraffic:
    """A source that has observed nothing, so that what the spec declares is planned for."""

    async def rates(self, key: ObjectKey) -> Mapping[str, float] | None:  # noqa: ARG002 - a port's signature
        """No observation."""
        return None
