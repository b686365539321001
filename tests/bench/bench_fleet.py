"""How long transitions of fleets take to simulate: `python tests/bench/bench_fleet.py`.

Eight replicas of llama-3.1-8b serve 384 adapters for an hour. Times are of one core's work, so that other
work on the machine matters less; beside each stands its ratio to the static simulation of the same hour.
"""

import argparse
import time
from collections.abc import Callable, Iterator

from adapter_twin.fleet import (
    Failure,
    Fleet,
    FleetReplica,
    Rollout,
    simulate_fleet,
    simulate_static,
    simulate_transition,
)
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload import Adapter, Workload

PROFILE = load_profile("llama-3.1-8b-instruct-h100-64gb")
ADAPTERS = tuple(Adapter(f"a{i:03}", (0.4, 0.1, 0.025)[i % 3], 8) for i in range(384))
HOUR = Workload.for_profile(PROFILE, ADAPTERS, 3600.0)


def pool(name: str, replicas: int, slots: int, shift: int = 0) -> Fleet:
    """Every adapter on one replica, in turn."""
    held: list[list[tuple[str, float]]] = [[] for _ in range(replicas)]
    for i, adapter in enumerate(ADAPTERS):
        held[(i // 3 + shift) % replicas].append((adapter.name, 1.0))
    config = ReplicaConfig(slots, 8)
    return Fleet.of(FleetReplica(f"{name}-{i}", config, tuple(own)) for i, own in enumerate(held))


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """What is timed."""
    present, moved, other = pool("p", 8, 48), pool("p", 8, 48, shift=3), pool("q", 8, 64)
    scaled = pool("p", 10, 48)
    common = {"seed": 1}

    def change(*changes: Rollout | Failure) -> Callable[[], object]:
        return lambda: simulate_fleet(PROFILE, present, HOUR, changes=changes, **common)

    yield "static", lambda: simulate_static(PROFILE, present.replicas, HOUR, **common)
    yield "fleet without changes", change()
    yield "every adapter moves", change(Rollout(moved, 300.0))
    yield "two more replicas", change(Rollout(scaled, 300.0))
    yield "new pool, surge 2", change(Rollout(other, 300.0, surge_gpus=2))
    yield "new pool, no surge", change(Rollout(other, 300.0))
    yield "a replica fails and returns", change(Failure("p-2", 600.0, 30.0))
    yield (
        "two more, against staying",
        lambda: simulate_transition(PROFILE, present, [Rollout(scaled, 300.0)], HOUR, **common),
    )


def main() -> None:
    """Print a line for each case: the best of some runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    reference = 0.0
    for name, simulate in cases():
        simulate()
        best = min(_seconds(simulate) for _ in range(options.runs))
        reference = reference or best
        print(f"{name:30s} {best:6.2f} s   {best / reference:4.1f} × static")


def _seconds(simulate: Callable[[], object]) -> float:
    start = time.process_time()
    simulate()
    return time.process_time() - start


if __name__ == "__main__":
    main()
