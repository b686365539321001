"""One S-LoRA server, compiled end to end: from requests to a report."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from adapter_twin.errors import EngineConfigError
from adapter_twin.memory import MemoryVerdict
from adapter_twin.outcome import summarize
from adapter_twin.profile.slora import PAGES_PER_RANK
from adapter_twin.slora.loop import run_server
from adapter_twin.slora.state import Server, new_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.profile.slora import SloraEngine, SloraProfile
    from adapter_twin.replica import During, ReplicaConfig
    from adapter_twin.report import Report
    from adapter_twin.workload.model import Adapter, Requests

SERIES_BINS = 120


def simulate_slora(
    profile: SloraProfile,
    requests: Requests,
    adapters: Sequence[Adapter],
    *,
    duration_s: float,
    engine: SloraEngine | None = None,
    during: During | None = None,
) -> Report:
    """Serve `requests` for `duration_s` seconds from an S-LoRA server that has just started.

    Args:
        profile: the server's model, GPU and coefficients.
        requests: sorted by arrival; those longer than the server allows are turned away.
        adapters: of any rank and number, all in host memory from the start; requests name them by index.
        duration_s: the simulation stops here.
        engine: the server's arguments; None means the profile's.
        during: entered while the server runs, with a function that tells the simulated time.

    Raises:
        EngineConfigError: the pool has no room for the longest request allowed and the largest adapter.
    """
    arguments = engine or profile.engine
    offered = requests.select(requests.arrival_s < duration_s)
    accepted = accepted_requests(arguments, offered)
    server = slora_server(profile, arguments, offered.select(accepted), adapters, duration_s)
    with during(lambda: float(server.state.time_s[0])) if during else nullcontext():
        run_server(server)
    verdict = MemoryVerdict(arguments.max_total_token_num, fits=True, reason="")
    fields_alike = cast("Any", server)
    return summarize(fields_alike, verdict, offered, accepted, adapters, duration_s)


def slora_arguments(engine: SloraEngine, config: ReplicaConfig) -> SloraEngine:
    """The server's arguments where a replica is configured in vLLM's terms; slots and ranks have no limit."""
    given = {
        "running_max_req_size": config.max_num_seqs,
        "batch_max_tokens": config.max_num_batched_tokens,
        "max_req_total_len": config.max_model_len,
        "max_connections": config.max_connections,
    }
    return engine.model_copy(update={name: value for name, value in given.items() if value is not None})


def slora_server(
    profile: SloraProfile,
    arguments: SloraEngine,
    requests: Requests,
    adapters: Sequence[Adapter],
    duration_s: float,
) -> Server:
    """A server that is about to serve requests which are all short enough."""
    pages = np.array([PAGES_PER_RANK * adapter.rank for adapter in adapters], dtype=np.int64)
    _require_room(arguments, pages)
    return new_server(
        arguments,
        profile.front_end,
        profile.coefficients(),
        requests.arrival_s,
        requests.prompt_tokens,
        requests.output_tokens,
        requests.adapter,
        pages,
        duration_s=duration_s,
        bins=SERIES_BINS,
    )


def accepted_requests(engine: SloraEngine, requests: Requests) -> NDArray[np.bool_]:
    """Which requests the HTTP server lets through, shape (requests,)."""
    asked = np.maximum(requests.output_tokens, engine.max_new_tokens)
    return (requests.prompt_tokens <= engine.max_req_input_len) & (
        requests.prompt_tokens + asked <= engine.max_req_total_len
    )


def _require_room(engine: SloraEngine, pages: NDArray[np.int64]) -> None:
    needed = engine.max_req_total_len + int(pages.max(initial=0))
    if needed >= engine.max_total_token_num:
        raise EngineConfigError(
            f"max_total_token_num: {engine.max_total_token_num} is not allowed, the longest request "
            f"({engine.max_req_total_len} tokens) and the largest adapter need more than {needed}"
        )
    if engine.prefill_token_limit < engine.max_req_total_len:
        raise EngineConfigError(
            f"batch_max_tokens: {engine.prefill_token_limit} is not allowed, it must be at least "
            f"max_req_total_len {engine.max_req_total_len}"
        )
