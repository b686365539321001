"""Adapters with rates, arrival processes, token lengths, traces, and their requests."""

from adapter_twin.workload.arrivals import ArrivalProcess, Diurnal, GammaBurst, OnOff, Poisson
from adapter_twin.workload.generation import generate, generate_lengths, route
from adapter_twin.workload.lengths import Empirical, Fixed, LengthDistribution, Lognormal
from adapter_twin.workload.model import Adapter, Requests, Workload
from adapter_twin.workload.popularity import zipf_rates, zipf_shares
from adapter_twin.workload.trace import Trace, TraceRules, read_trace
from adapter_twin.workload.trace_writing import write_trace

__all__ = [
    "Adapter",
    "ArrivalProcess",
    "Diurnal",
    "Empirical",
    "Fixed",
    "GammaBurst",
    "LengthDistribution",
    "Lognormal",
    "OnOff",
    "Poisson",
    "Requests",
    "Trace",
    "TraceRules",
    "Workload",
    "generate",
    "generate_lengths",
    "read_trace",
    "route",
    "write_trace",
    "zipf_rates",
    "zipf_shares",
]
