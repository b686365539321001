"""Predicting measured S-LoRA runs, from their settings alone, as their client saw them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter_twin.engine.state import FINISHED
from adapter_twin.measurements.slora_client import (
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    Sent,
    chosen_adapters,
    sent_requests,
)
from adapter_twin.slora.loop import run_server
from adapter_twin.slora.replica import slora_server
from adapter_twin.workload.model import Adapter, Requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from adapter_twin.measurements.tables import SloraRun
    from adapter_twin.profile.slora import SloraProfile
    from adapter_twin.slora.state import Server


@dataclass(frozen=True)
class SloraPrediction:
    """What the twin says of a measured S-LoRA run. Times in seconds."""

    completed: int
    sent: int
    duration_s: float
    throughput: float
    """Prompt tokens and chunks of finished requests per second."""
    itl_s: float
    tpot_s: float
    ttft_s: float
    """Over all requests sent; an unfinished one counts with the duration, here and in the next."""
    ttft_p50_s: float
    batch_size: float
    """This and the next: over steps."""
    active_adapters_mean: float
    waiting_mean: float
    kv_usage_mean: float
    status: Literal["ok"] = "ok"


def predict_slora_run(
    profile: SloraProfile, run: SloraRun, seed: int = 0, *, own_arrivals: bool = True
) -> SloraPrediction:
    """Simulate one measured run; of the row only its settings are read.

    Args:
        profile: that of the run's model.
        run: the row.
        seed: of the choice of adapters, and of the arrivals if they are not the run's own.
        own_arrivals: send requests when the measured client did.
    """
    sent = sent_requests(run.offered_rate_rps, 0 if own_arrivals else seed)
    adapters = [Adapter(f"adapter-{i}", run.adapter_rate, run.adapter_rank) for i in range(run.adapters)]
    requests = _requests(sent, run.adapters, seed)
    server = slora_server(profile, profile.engine, requests, adapters, sent.duration_s)
    run_server(server)
    return _as_seen(server, sent.duration_s)


def predict_slora_runs(
    profile: SloraProfile,
    runs: Sequence[SloraRun],
    seed: int = 0,
    threads: int = 1,
    *,
    own_arrivals: bool = True,
) -> Iterator[SloraPrediction]:
    """Simulate runs in order, in threads: the engine holds no lock."""
    predict = partial(predict_slora_run, profile, seed=seed, own_arrivals=own_arrivals)
    if threads == 1:
        yield from map(predict, runs)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(predict, runs)


def _requests(sent: Sent, adapters: int, seed: int) -> Requests:
    count = sent.arrival_s.size
    return Requests(
        arrival_s=sent.arrival_s,
        prompt_tokens=np.full(count, PROMPT_TOKENS),
        output_tokens=np.full(count, OUTPUT_TOKENS),
        adapter=chosen_adapters(count, adapters, seed),
    )


def _as_seen(server: Server, duration_s: float) -> SloraPrediction:
    """The client's figures: chunks instead of tokens, and unfinished requests in the mean TTFT."""
    state = server.state[0]
    done = server.requests[server.requests.phase == FINISHED]
    chunks = np.maximum(done.output - done.merged, 1.0)
    decoding_s = done.finish_s - done.first_token_s
    first_s = done.first_token_s - done.arrival_s
    sent, steps = server.requests.size, max(1, int(state.steps))
    seconds, _, waiting, held = server.series[:, :4].sum(axis=0)
    return SloraPrediction(
        completed=done.size,
        sent=sent,
        duration_s=duration_s,
        throughput=float(done.prompt.sum() + chunks.sum()) / duration_s,
        itl_s=float(decoding_s.sum() / chunks.sum()),
        tpot_s=float((decoding_s / np.maximum(chunks - 1.0, 1.0)).mean()),
        ttft_s=float(first_s.sum() + (sent - done.size) * duration_s) / sent,
        ttft_p50_s=_median(first_s, sent, duration_s),
        batch_size=float(state.batch_sum) / steps,
        active_adapters_mean=float(state.active_sum) / steps,
        waiting_mean=float(waiting / seconds),
        kv_usage_mean=float(held / seconds / server.config.blocks[0]),
    )


def _median(values: NDArray[np.float64], count: int, otherwise: float) -> float:
    """Of `count` values, those not given being `otherwise`, which is above all others."""
    return float(np.median(np.concatenate([values, np.full(count - values.size, otherwise)])))
