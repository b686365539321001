"""Which measured runs a closed-loop fit looks at: simulating all of them for every step would take hours."""

from collections.abc import Sequence

from adapter_twin.measurements.tables import Run

_BUSY_RPS = 60.0
_BUSIEST_RPS = 320.0
"""In busier runs the cap on connections binds all the time, as in slower ones; they take the longest."""
_BUSY_FACTOR = 3


def fit_sample(runs: Sequence[Run], every: int) -> list[Run]:
    """Every n-th `ok` run, and fewer of the busy ones, which teach less and take longer to simulate."""
    ok = [run for run in runs if run.status == "ok"]
    calm = [run for run in ok if run.offered_rate_rps <= _BUSY_RPS]
    busy = [run for run in ok if _BUSY_RPS < run.offered_rate_rps <= _BUSIEST_RPS]
    return calm[::every] + busy[:: _BUSY_FACTOR * every]
