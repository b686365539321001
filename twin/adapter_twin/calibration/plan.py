"""The fewest benchmark runs that determine a profile's coefficients on a GPU that was never measured.

Candidates are servers (slots, rank) with clients (concurrency, lengths, adapters). The twin simulates each at
the derived profile, and its Jacobian says what the run would tell. Runs are then taken one by one, first the
one that takes away the most uncertainty of the step time for its own time (averaged over small and large
steps: an I-optimal design, found greedily, then by exchanges); a run on a server that no other run needs
pays for its start too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import block_diag

from adapter_twin.calibration.bench_fit import BenchObjective
from adapter_twin.calibration.bench_runs import (
    BenchRun,
    bench_adapters,
    drawn_adapters,
    simulate_bench,
)
from adapter_twin.calibration.fit import FitSettings, Progress, jacobian_at
from adapter_twin.calibration.identifiability import information, open_deviations, relative_gradients
from adapter_twin.calibration.parameters import BENCH_PARAMETERS, vector_of
from adapter_twin.errors import MeasurementError
from adapter_twin.memory import ALLOWED_LORA_RANKS, memory_verdict
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload import Requests
from adapter_twin.workload.random_streams import stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from adapter_twin.profile import Profile

    _Vector = NDArray[np.float64]

MAX_MODEL_LEN = 4096
"""Of the planned servers: the runs need no more, and small GPUs have no room for a model's own."""
RANGE_RATIO = 0.3
"""Lengths vary by this part either way, or all requests of a closed loop would march in step."""
DEFAULT_SLOTS = (8, 32, 128)
DEFAULT_RANKS = (8, 32)
MOST_RUNS = 14
_RUN_S = 60.0
"""What a run should last, at least."""
_ROUNDS = 4
"""Requests that each connection sends, at least."""
_GOOD_ENOUGH = 0.015
"""Relative error of the step time, on average over small and large steps, at which a plan is complete."""
_LEAST_GAIN = 0.02
"""Part of that error that a run must take away to be worth making."""
_TIME, _BETTER = 0.3, 0.995
"""A plan of twice the time must be 1.2 times as certain; an exchange must be worth something."""
_WEIGHT = 0.2
"""Of a relative error in loading times and in the way to the queue, against one in the step time."""
_MOST_SWAPPED = 128
"""Adapters that a server shall load at its start just to swap them."""
_NEEDED = 1.3
"""A run is said to identify what would be so much less certain without it."""


@dataclass(frozen=True)
class Server:
    """How vLLM is started; no slots: without LoRA."""

    max_loras: int
    max_lora_rank: int

    @property
    def name(self) -> str:
        """Short, for files."""
        return f"slots{self.max_loras}-rank{self.max_lora_rank}" if self.max_loras else "base"


@dataclass(frozen=True)
class PlannedRun:
    """One benchmark: which server, and what the client does. Lengths are the middle of their ranges."""

    server: Server
    adapters: int
    max_concurrency: int
    prompt_tokens: int
    output_tokens: int
    prompts: int
    expected_s: float = 0.0
    identifies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Distinct within a plan, for files."""
        client = f"c{self.max_concurrency}-in{self.prompt_tokens}-out{self.output_tokens}"
        return f"{self.server.name}-n{self.adapters}-{client}"


@dataclass(frozen=True)
class RunPlan:
    """The runs to make, those of one server together."""

    profile: Profile
    runs: tuple[PlannedRun, ...]
    expected_error: float
    """Relative standard error of the step time after the runs, on average over small and large steps."""

    @property
    def servers(self) -> tuple[Server, ...]:
        """In the order in which they are started."""
        return tuple(dict.fromkeys(run.server for run in self.runs))

    @property
    def expected_s(self) -> float:
        """Of all runs and starts."""
        return sum(run.expected_s for run in self.runs) + len(self.servers) * start_s(self.profile)


_CLIENTS = (
    (1, 64, 256),
    (16, 256, 128),
    (64, 128, 256),
    (256, 64, 128),
    (64, 2048, 256),
    (32, 1024, 8),
    (128, 32, 16),
)
"""Concurrency, prompt and output tokens: decodes few and many, long context, long prompts, many prompts."""
_SWAPPING = (32, 64, 32)
_SWAPPED = 4
"""With so many times more adapters than slots the engine loads one all the time."""


def start_s(profile: Profile) -> float:
    """From `vllm serve` to a healthy server whose image is there."""
    return profile.startup.weights_s + profile.startup.compile_s


def plan_runs(
    profile: Profile,
    progress: Progress,
    *,
    slots: Sequence[int] = DEFAULT_SLOTS,
    ranks: Sequence[int] = DEFAULT_RANKS,
    most: int = MOST_RUNS,
) -> RunPlan:
    """Choose the runs for a profile's model and GPU.

    Raises:
        MeasurementError: no server with adapters would start on that GPU, or a rank is not one of vLLM's.
    """
    candidates = list(_candidates(profile, slots, ranks))
    told = []
    for number, candidate in enumerate(candidates):
        progress(f"what {candidate.name} would tell", number / len(candidates))
        told.append(_told(profile, candidate))
    progress("done", 1.0)
    timed = [run for run, _ in told]
    found = [matrix for _, matrix in told]
    targets = _targets(profile, [run.server for run in timed if run.server.max_loras])
    chosen = _choose(timed, found, targets, start_s(profile), most)
    chosen = _exchanged(chosen, timed, found, targets, start_s(profile))
    return _plan(profile, targets, [timed[i] for i in chosen], [found[i] for i in chosen])


def _candidates(profile: Profile, slots: Sequence[int], ranks: Sequence[int]) -> Iterator[PlannedRun]:
    for rank in ranks:
        if rank not in ALLOWED_LORA_RANKS:
            allowed = ", ".join(map(str, ALLOWED_LORA_RANKS))
            raise MeasurementError(f"ranks: {rank} is not one of {allowed}")
    base = Server(0, min(ranks))
    yield from (_candidate(base, 0, client) for client in _CLIENTS)
    servers = [server for pair in product(slots, ranks) if _fits(profile, server := Server(*pair))]
    if not servers:
        raise MeasurementError(
            f"slots, ranks: no server with adapters fits {profile.gpu.name}; give smaller --slots and --ranks"
        )
    for server in servers:
        counts = sorted({1, max(2, server.max_loras // 4), server.max_loras})
        for count, client in product(counts, _CLIENTS):
            if count <= client[0]:
                yield _candidate(server, count, client)
        if _SWAPPED * server.max_loras <= _MOST_SWAPPED:
            yield _candidate(server, _SWAPPED * server.max_loras, _SWAPPING)


def _fits(profile: Profile, server: Server) -> bool:
    return memory_verdict(profile, server.max_loras, server.max_lora_rank, max_model_len=MAX_MODEL_LEN).fits


def _candidate(server: Server, adapters: int, client: tuple[int, int, int]) -> PlannedRun:
    concurrency, prompt, output = client
    return PlannedRun(server, adapters, concurrency, prompt, output, _ROUNDS * concurrency)


def _told(profile: Profile, run: PlannedRun) -> tuple[PlannedRun, _Vector]:
    """The run, as long as it should be, and its Fisher information at the profile."""
    short = planned_bench(run)
    figures = simulate_bench(short, profile)
    prompts = run.max_concurrency * max(_ROUNDS, round(_ROUNDS * _RUN_S / figures.duration_s))
    timed = replace(run, prompts=prompts, expected_s=figures.duration_s * prompts / run.prompts)
    values = vector_of(profile, BENCH_PARAMETERS)
    objective = BenchObjective([short], [figures], FitSettings(threads=1))
    jacobian = jacobian_at(profile, objective, values, np.zeros(3))
    return timed, information(BENCH_PARAMETERS, jacobian, values)


def planned_bench(run: PlannedRun, seed: int = 0) -> BenchRun:
    """The run as the twin simulates it: lengths drawn as the client draws them."""
    draw = stream(seed, "planned lengths", run.name)
    prompt, output = (_spread(draw, middle, run.prompts) for middle in (run.prompt_tokens, run.output_tokens))
    rank = run.server.max_lora_rank
    return BenchRun(
        name=run.name,
        config=ReplicaConfig(
            max_loras=run.server.max_loras,
            max_lora_rank=rank,
            max_model_len=MAX_MODEL_LEN,
            scrape_interval_s=0.0,
            client_concurrency=run.max_concurrency,
        ),
        adapters=bench_adapters(run.adapters, rank),
        requests=Requests(
            np.zeros(run.prompts), prompt, output, drawn_adapters(run.adapters, run.prompts, seed, run.name)
        ),
        longest_s=36_000.0,
    )


def _spread(draw: np.random.Generator, middle: int, count: int) -> NDArray[np.int32]:
    low, high = max(1, int(middle * (1 - RANGE_RATIO))), int(np.ceil(middle * (1 + RANGE_RATIO)))
    return draw.integers(low, high + 1, count, dtype=np.int32)


def _choose(
    runs: Sequence[PlannedRun], found: Sequence[_Vector], targets: _Vector, start: float, most: int
) -> list[int]:
    """Places of the runs to make, in the order in which they were taken."""
    known = np.eye(len(BENCH_PARAMETERS))
    chosen: list[int] = []
    while len(chosen) < most and (error := _error(known, targets)) > _GOOD_ENOUGH:
        started = {runs[i].server for i in chosen}
        gains = np.array([np.log(error / _error(known + matrix, targets)) for matrix in found])
        gains[chosen] = 0.0
        costs = np.array([run.expected_s + (0.0 if run.server in started else start) for run in runs])
        best = int(np.argmax(gains / costs))
        if gains[best] < _LEAST_GAIN:
            break
        chosen.append(best)
        known = known + found[best]
    return chosen


def _exchanged(
    chosen: list[int], runs: Sequence[PlannedRun], found: Sequence[_Vector], targets: _Vector, start: float
) -> list[int]:
    """Single runs exchanged for others for as long as that makes the plan better: shorter or more certain."""

    def badness(places: list[int]) -> float:
        known = sum((found[i] for i in places), np.eye(len(BENCH_PARAMETERS)))
        servers = {runs[i].server for i in places}
        seconds = sum(runs[i].expected_s for i in places) + start * len(servers)
        return float(_error(known, targets) * seconds**_TIME)

    best, improved = badness(chosen), True
    while improved:
        improved = False
        for place, other in product(range(len(chosen)), range(len(runs))):
            changed = [*chosen[:place], other, *chosen[place + 1 :]]
            if other not in chosen and (found_badness := badness(changed)) < best * _BETTER:
                chosen, best, improved = changed, found_badness, True
    return chosen


def _targets(profile: Profile, servers: Sequence[Server]) -> _Vector:
    """What shall become certain, in units of the first uncertainties, shape (targets, parameters).

    The step time over small and large steps; and, of less weight, what loading and entering the queue take.
    """
    slots = sorted({server.max_loras for server in servers})
    ranks = sorted({server.max_lora_rank for server in servers})
    steps = relative_gradients(profile, slots, ranks)
    values = vector_of(profile, BENCH_PARAMETERS)
    others = np.diag(_WEIGHT / np.maximum(values[steps.shape[1] :], 1e-9))
    targets: _Vector = block_diag(steps, np.sqrt(len(steps) / len(others)) * others)
    return targets * open_deviations(BENCH_PARAMETERS, values)


def _error(known: _Vector, targets: _Vector) -> float:
    """Root of the mean square of the targets' relative errors."""
    return float(np.sqrt(np.einsum("ij,ji->", targets, np.linalg.solve(known, targets.T)) / len(targets)))


def _left(found: Sequence[_Vector]) -> _Vector:
    """Part of the first uncertainty that is left of each coefficient."""
    known = np.eye(len(BENCH_PARAMETERS)) + sum(
        found, np.zeros((len(BENCH_PARAMETERS), len(BENCH_PARAMETERS)))
    )
    left: _Vector = np.sqrt(np.diag(np.linalg.inv(known)))
    return left


def _plan(
    profile: Profile, targets: _Vector, runs: Sequence[PlannedRun], found: Sequence[_Vector]
) -> RunPlan:
    names = [parameter.name for parameter in BENCH_PARAMETERS]
    left = _left(found)
    told = []
    for place, run in enumerate(runs):
        without = _left([matrix for other, matrix in enumerate(found) if other != place])
        both = zip(names, without, left, strict=True)
        needed = [name for name, more, less in both if more > _NEEDED * less]
        told.append(replace(run, identifies=tuple(needed)))
    order = sorted(told, key=lambda run: (run.server.max_loras, run.server.max_lora_rank, run.adapters))
    known = sum(found, np.eye(len(BENCH_PARAMETERS)))
    return RunPlan(profile, tuple(order), _error(known, targets))
