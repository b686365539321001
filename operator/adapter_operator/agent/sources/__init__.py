"""Where adapters' files come from."""

from adapter_operator.agent.sources.base import Fetched, Source
from adapter_operator.agent.sources.choose import source_of

__all__ = ["Fetched", "Source", "source_of"]
