"""How long `adaptwin plan` takes by stage and number of adapters: `python tests/bench/bench_plan.py`.

Figures are printed, never asserted. Rates are as they are seen in practice: a few hot adapters, a long tail.
"""

import random

from rich.console import Console
from rich.table import Table

from adapter_operator.planning import PlanningRequest, TwinVerifier, decide
from adapter_operator.planning.verify import warm_up
from adapter_predictor.placement import AdapterDemand, Limits
from adapter_twin.profile import load_profile

PROFILE = "llama-3.1-8b-instruct-h100-64gb"
SIZES = (50, 160, 500, 1000)
STAGES = ("load predictor", "place", "verify", "envelope")


def workload(count):
    """Adapters with Pareto-distributed rates, between one request in 17 minutes and nine a second."""
    source = random.Random(count)
    rates = (min(9.0, max(0.001, 0.03 * source.paretovariate(1.1))) for _ in range(count))
    return tuple(AdapterDemand(f"t-{i:05}", rate, source.choice((8, 16, 32))) for i, rate in enumerate(rates))


def main():
    """Print seconds by stage for each number of adapters."""
    profile = load_profile(PROFILE)
    warm_up(profile)
    table = Table(
        "adapters", "req/s", "replicas", "verdict", "plans tried", *(f"{s}, s" for s in STAGES), "total, s"
    )
    for count in SIZES:
        request = PlanningRequest("bench", profile, workload(count), limits=Limits(1, 64))
        decision = decide(request, verifier=TwinVerifier(threads=2))
        seconds = [decision.timings.get(stage, 0.0) for stage in STAGES]
        figures = (
            count,
            f"{request.total_rate:.1f}",
            decision.plan.replicas,
            decision.status,
            len(decision.attempts),
        )
        table.add_row(*map(str, figures), *(f"{s:.2f}" for s in seconds), f"{sum(seconds):.2f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
