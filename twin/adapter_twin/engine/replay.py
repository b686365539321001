"""Drive the engine with the arrivals of a recording of vLLM's scheduler, and tell what it did in its terms.

Recordings are time-free: requests arrive at step indices. The same compiled loop runs here, with every step
one second long, and its log is read back in the recordings' format (`trace-1`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapter_twin.engine import step_log
from adapter_twin.engine.building import new_engine
from adapter_twin.engine.loop import run_engine
from adapter_twin.engine.policy import SchedulerPolicy
from adapter_twin.engine.step_time import N_COEFFICIENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.engine.state import Engine

Recording = Mapping[str, Any]
Step = dict[str, Any]

_LONG_ENOUGH_S: Final = 1e12
_LISTS: Final = (
    "sched",
    "new",
    "resumed",
    "preempted",
    "finished",
    "running",
    "waiting",
    "skipped",
    "lora_ev",
)
_PER_REQUEST: Final = {
    step_log.ADMITTED: "new",
    step_log.RESUMED: "resumed",
    step_log.PREEMPTED: "preempted",
    step_log.QUEUED: "waiting",
    step_log.SKIPPED: "skipped",
}
_PAIRS: Final = {step_log.SCHEDULED: "sched", step_log.FINISHED: "finished"}
_ADAPTER_EVENTS: Final = {
    step_log.LOADED: "load",
    step_log.CPU_EVICTED: "cpu_evict",
    step_log.ACTIVATED: "activate",
    step_log.GPU_EVICTED: "gpu_evict",
}


def recorded_policy(recording: Recording) -> SchedulerPolicy:
    """The limits and switches of the recorded engine."""
    engine = recording["engine"]
    scheduler, lora = engine["scheduler_config"], engine.get("lora_config") or {}
    return SchedulerPolicy(
        max_num_seqs=scheduler["max_num_seqs"],
        max_num_batched_tokens=engine["max_num_scheduled_tokens"],
        blocks=engine["usable_blocks"],
        block_size=engine["block_size"],
        max_loras=lora.get("max_loras", 0),
        max_cpu_loras=lora.get("max_cpu_loras", 0),
        max_num_active_seqs=scheduler["max_num_active_seqs"],
        long_prefill_token_threshold=scheduler["long_prefill_token_threshold"],
        long_prefill_token_threshold_adaptive=scheduler["long_prefill_token_threshold_adaptive"],
        lone_prefill_is_unlimited=True,
        scheduler_reserve_full_isl=engine["scheduler_reserve_full_isl"],
        watermark_blocks=engine["watermark_blocks"],
    )


def replay(recording: Recording) -> list[Step]:
    """The steps that the engine takes with the recording's arrivals, in the recording's format.

    Only steps that schedule something are listed. Where the recording says in which order the worker touched
    adapters (`lora_apply`; it is the order of a Python set), that order is followed.
    """
    log_size = 1 << 20
    while True:
        engine, names = _recorded_engine(recording, log_size)
        run_engine(engine)
        needed = int(engine.state.log_size[0])
        if needed <= log_size:
            return _steps(engine, names)
        log_size = needed


def _recorded_engine(recording: Recording, log_size: int) -> tuple[Engine, list[str]]:
    arrivals = sorted(recording["arrivals"], key=lambda arrival: arrival["step"])
    named = {arrival["adapter"] for arrival in arrivals} - {None}
    names = sorted(named)
    index = {name: i for i, name in enumerate(names)}
    nothing = np.zeros(len(names))
    engine = new_engine(
        recorded_policy(recording),
        np.zeros(N_COEFFICIENTS),
        np.array([arrival["step"] for arrival in arrivals], dtype=np.float64),
        np.array([arrival["prompt_tokens"] for arrival in arrivals], dtype=np.int64),
        np.array([arrival["output_tokens"] for arrival in arrivals], dtype=np.int64),
        np.array([index.get(arrival["adapter"], -1) for arrival in arrivals], dtype=np.int64),
        nothing,
        nothing,
        duration_s=_LONG_ENOUGH_S,
        fixed_step_s=1.0,
        log_size=log_size,
        applied=_applied(recording["steps"], index),
    )
    engine.adapters.reload[: len(names)] = [name in _reloaded(recording) for name in names]
    return engine, names


def _reloaded(recording: Recording) -> list[str]:
    """Adapters that are read from disk in every step that holds them (`load_inplace`)."""
    return list(recording["engine"].get("load_inplace") or ())


def _applied(
    steps: Sequence[Step], index: Mapping[str, int]
) -> tuple[NDArray[np.int32], NDArray[np.int64]] | None:
    """The recorded orders of touching adapters, one after another, and where each step's begins."""
    if not any("lora_apply" in step for step in steps):
        return None
    orders: list[list[int]] = [[] for _ in range(max(step["t"] for step in steps) + 2)]
    for step in steps:
        orders[step["t"]] = [index[name] for name in step.get("lora_apply", ())]
    offsets = np.cumsum([0, *map(len, orders)])
    return np.array([i for order in orders for i in order], dtype=np.int32), offsets


def _steps(engine: Engine, names: Sequence[str]) -> list[Step]:
    steps: list[Step] = []
    step = _empty_step()
    total = int(engine.config.blocks[0])
    for code, first, second in step_log.events(engine):
        match code:
            case step_log.STEP:
                step["t"] = first
            case step_log.BLOCKS_USED:
                step["kv"] = [first, total - first]
            case step_log.BLOCKS_LEFT:
                step["kv_end"] = [first, total - first]
                steps.append(step)
                step = _empty_step()
            case step_log.COMPUTED:
                step["running"].append(first)
                step["computed"][first] = second
            case _ if code in _ADAPTER_EVENTS:
                place = [second] if code == step_log.ACTIVATED else []
                step["lora_ev"].append([_ADAPTER_EVENTS[code], names[first], *place])
            case _ if code in _PAIRS:
                step[_PAIRS[code]].append([first, second])
            case _:
                step[_PER_REQUEST[code]].append(first)
    return [_with_adapters(step, engine, names) for step in steps]


def _empty_step() -> Step:
    return {name: [] for name in _LISTS} | {"computed": {}}


def _with_adapters(step: Step, engine: Engine, names: Sequence[str]) -> Step:
    """Add the step's adapters, in the order of the running list, and who is left running at its end."""
    adapter = engine.requests.adapter
    used = dict.fromkeys(int(adapter[i]) for i in step["running"])
    gone = {i for i, _ in step["finished"]}
    step["loras"] = [names[i] for i in used if i < len(names)]
    step["running_end"] = [i for i in step["running"] if i not in gone]
    return step
