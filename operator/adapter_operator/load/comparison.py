"""What the twin predicts for the very same requests, beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter_operator.load.errors import LoadError
from adapter_twin.report import Status

if TYPE_CHECKING:
    from adapter_operator.load.measuring import Measured
    from adapter_operator.load.traffic import Traffic
    from adapter_twin.profile import AnyProfile
    from adapter_twin.replica import ReplicaConfig
    from adapter_twin.report import Report

JUDGED = frozenset({"throughput", "inter-token latency"})
"""What a tolerance is for; first tokens are far noisier."""


@dataclass(frozen=True)
class Compared:
    """One figure."""

    name: str
    unit: str
    """tokens/s, s, or nothing for a fraction."""
    predicted: float
    measured: float

    @property
    def error_percent(self) -> float:
        """Of the prediction, relative to what was measured; NaN without a measurement."""
        return 100.0 * (self.predicted / self.measured - 1.0) if self.measured else float("nan")

    def within(self, tolerance_percent: float) -> bool:
        """Whether it is so close; not if either is missing."""
        return abs(self.error_percent) <= tolerance_percent


def predict(profile: AnyProfile, config: ReplicaConfig, traffic: Traffic) -> Report:
    """What one replica would do with the traffic.

    Raises:
        EngineConfigError: such a replica does not take these adapters.
        LoadError: it does not start.
    """
    from adapter_twin.replica import simulate_replica  # noqa: PLC0415 - imports numba

    report = simulate_replica(
        profile, config, traffic.requests, traffic.adapters, duration_s=traffic.duration_s
    )
    if report.status is not Status.OK:
        raise LoadError(
            f"--max-loras: the twin says that such a server does not start, {report.memory.reason}"
        )
    return report


def compared(report: Report, measured: Measured) -> tuple[Compared, ...]:
    """The figures that both have."""
    total = measured.total
    return (
        Compared("throughput", "tokens/s", report.throughput_tokens_per_s, total.throughput_tokens_per_s),
        Compared("served fraction", "", report.served_fraction, total.served_fraction),
        Compared("time to first token", "s", report.ttft_s.mean, total.ttft_s.mean),
        Compared("inter-token latency", "s", report.itl_s.mean, total.itl_s.mean),
        Compared("time per output token", "s", report.tpot_s.mean, total.tpot_s.mean),
        Compared("end to end", "s", report.e2e_s.mean, total.e2e_s.mean),
    )


def outside(figures: tuple[Compared, ...], tolerance_percent: float) -> tuple[Compared, ...]:
    """Of those that are judged, the ones not within a tolerance."""
    return tuple(f for f in figures if f.name in JUDGED and not f.within(tolerance_percent))
