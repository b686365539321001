"""A replica's engine on the fleet's clock, from its start to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.engine.state import FINISHED
from adapter_twin.live import LiveReplica
from adapter_twin.workload.model import Requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.profile import Profile
    from adapter_twin.replica import ReplicaConfig
    from adapter_twin.report import Report
    from adapter_twin.workload.model import Adapter

_ABSENT = -1


class Server:
    """Speaks of requests and adapters by their numbers in the workload; the engine has numbers of its own."""

    def __init__(
        self,
        profile: Profile,
        config: ReplicaConfig,
        adapters: Sequence[Adapter],
        requests: Requests,
        start_s: float,
        end_s: float,
    ) -> None:
        """An engine that has just come up, without adapters; `end_s` is the end of the simulation."""
        self._live = LiveReplica(profile, config, start_s=start_s, duration_s=end_s - start_s)
        self._adapters = adapters
        self._requests = requests
        self._engine_number = np.full(len(adapters), _ABSENT, dtype=np.int32)
        self._given: list[NDArray[np.int64]] = []
        self._ids: list[NDArray[np.int64]] = []
        self._open = np.empty(0, dtype=np.int64)
        self._open_ids = np.empty(0, dtype=np.int64)

    def load(self, adapter: int, at_s: float) -> float:
        """Load an adapter, which the engine stands still for.

        Returns:
            Seconds until it is loaded.
        """
        number = self._live.add_adapter(self._adapters[adapter], at_s=at_s)
        self._engine_number[adapter] = number
        return self._live.loaded_at_s(number) - at_s

    def unload(self, adapter: int) -> None:
        """The server forgets the name; requests in flight go on."""
        self._live.remove_adapter(int(self._engine_number[adapter]))
        self._engine_number[adapter] = _ABSENT

    def submit(self, chosen: NDArray[np.int64], at_s: float | None = None) -> None:
        """Hand over requests at their arrival, or all of them at one moment."""
        if chosen.size == 0:
            return
        asked = self._requests
        arrival_s = asked.arrival_s[chosen] if at_s is None else np.full(chosen.size, at_s)
        ids = self._live.submit_many(
            Requests(
                arrival_s,
                asked.prompt_tokens[chosen],
                asked.output_tokens[chosen],
                self._engine_number[asked.adapter[chosen]],
            )
        )
        self._given.append(chosen)
        self._ids.append(ids)
        self._open = np.concatenate([self._open, chosen])
        self._open_ids = np.concatenate([self._open_ids, ids])

    def advance(self, until_s: float) -> None:
        """Simulate; the interpreter's lock is released."""
        self._live.advance(until_s)

    def in_flight(self) -> NDArray[np.int64]:
        """Requests that have been neither answered to the end nor turned away."""
        still = self._live.phase[self._open_ids] < FINISHED
        self._open, self._open_ids = self._open[still], self._open_ids[still]
        return self._open

    def outcome(self) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
        """All requests ever handed over, with phase, time of the first and of the last token."""
        empty = np.empty(0, dtype=np.int64)
        given, ids = np.concatenate([empty, *self._given]), np.concatenate([empty, *self._ids])
        live = self._live
        return given, live.phase[ids], live.first_token_s[ids], live.finish_s[ids]

    def report(self) -> Report:
        """What the engine did from its start until now."""
        return self._live.report()
