"""The workloads of the comparison: fixed by their seeds, half of them need 20 GPUs or more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.errors import ComparisonError
from adapter_predictor.placement import AdapterDemand

LLAMA: Final = "llama-3.1-8b-instruct-h100-64gb"
QWEN: Final = "qwen-2.5-7b-instruct-h100-64gb"


@dataclass(frozen=True)
class Case:
    """One workload of the suite.

    Attributes:
        name: How it is called.
        description: What it is like, as a noun phrase.
        profile: Name of the profile that serves it.
        demands: The adapters.
        quick: Whether it belongs to the quick part of the suite.
    """

    name: str
    description: str
    profile: str
    demands: tuple[AdapterDemand, ...]
    quick: bool = False


def suite() -> tuple[Case, ...]:
    """All workloads, small ones first."""
    return tuple(build() for build in _CASES.values())


def chosen(names: Sequence[str], *, quick: bool) -> tuple[Case, ...]:
    """The workloads with these names, in the suite's order; all, or all quick ones, where none is named."""
    if unknown := sorted(set(names) - _CASES.keys()):
        raise ComparisonError(f"--workloads: {unknown[0]} is not one of {', '.join(_CASES)}")
    cases = [build() for name, build in _CASES.items() if not names or name in names]
    return tuple(case for case in cases if names or case.quick or not quick)


def _demands(
    rates: NDArray[np.float64], ranks: Sequence[int], seed: int, *, copies: int = 1
) -> tuple[AdapterDemand, ...]:
    """Adapters with these rates, of ranks drawn evenly; the hottest tenth has `copies` minimum copies."""
    drawn = np.random.default_rng([seed, 1]).choice(ranks, len(rates))
    hot = np.quantile(rates, 0.9)
    return tuple(
        AdapterDemand(f"adapter-{index:04d}", round(float(rate), 6), int(rank), copies if rate > hot else 1)
        for index, (rate, rank) in enumerate(zip(rates, drawn, strict=True))
    )


def _zipf(count: int, total: float, exponent: float) -> NDArray[np.float64]:
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    shares: NDArray[np.float64] = total * weights / weights.sum()
    return shares


def _lognormal(count: int, mean: float, sigma: float, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, 2])
    rates: NDArray[np.float64] = mean * np.exp(sigma * rng.standard_normal(count) - 0.5 * sigma**2)
    return rates


def _hot_and_cold(hot: int, hot_rate: float, cold: int, cold_rate: float) -> NDArray[np.float64]:
    return np.concatenate([np.full(hot, hot_rate), np.full(cold, cold_rate)])


def _cycled(count: int, rates: Sequence[float]) -> NDArray[np.float64]:
    return np.resize(np.array(rates), count)


def _case(
    name: str,
    description: str,
    rates: NDArray[np.float64],
    ranks: Sequence[int],
    seed: int,
    *,
    profile: str = LLAMA,
    copies: int = 1,
    quick: bool = False,
) -> tuple[str, Callable[[], Case]]:
    return name, lambda: Case(name, description, profile, _demands(rates, ranks, seed, copies=copies), quick)


_CASES: Final[Mapping[str, Callable[[], Case]]] = MappingProxyType(
    dict(
        [
            _case("uniform-400", "400 alike of rank 16", np.full(400, 0.1), (16,), 11, quick=True),
            _case("zipf-500", "Zipf's law, three ranks", _zipf(500, 60.0, 1.0), (8, 16, 32), 12, quick=True),
            _case(
                "ranks-400",
                "ranks 8 to 64, hot tenth twice",
                _lognormal(400, 0.12, 1.0, 13),
                (8, 16, 32, 64),
                13,
                copies=2,
            ),
            _case(
                "hot-cold-300",
                "6 hot, 294 cold",
                _hot_and_cold(6, 8.0, 294, 0.02),
                (8, 16),
                14,
                quick=True,
            ),
            _case(
                "measured-480",
                "a measured mix on qwen",
                _cycled(480, (0.4, 0.05, 0.00625)),
                (8, 16, 32),
                15,
                profile=QWEN,
            ),
            _case("growing-100", "growing: 100", _lognormal(100, 0.2, 1.2, 16), (8, 16, 32), 16, quick=True),
            _case("growing-500", "growing: 500", _lognormal(500, 0.2, 1.2, 16), (8, 16, 32), 16),
            _case("growing-2000", "growing: 2,000", _lognormal(2000, 0.32, 1.2, 16), (8, 16, 32), 16),
            _case("uniform-3000", "3,000 alike of rank 16", np.full(3000, 0.16), (16,), 21),
            _case("zipf-3000", "Zipf's law, three ranks", _zipf(3000, 620.0, 0.9), (8, 16, 32), 22),
            _case(
                "ranks-2000",
                "ranks 8 to 64, hot tenth twice",
                _lognormal(2000, 0.24, 1.0, 23),
                (8, 16, 32, 64),
                23,
                copies=2,
            ),
            _case(
                "hot-cold-2000",
                "64 hot, 1,936 cold",
                _hot_and_cold(64, 12.0, 1936, 0.02),
                (8, 16),
                24,
            ),
            _case(
                "measured-3600",
                "a measured mix on llama",
                _cycled(3600, (0.4, 0.05, 0.00625)),
                (8, 16, 32),
                25,
            ),
            _case(
                "measured-2400",
                "a hot measured mix on qwen",
                _cycled(2400, (0.8, 0.1, 0.025)),
                (8, 16),
                26,
                profile=QWEN,
            ),
        ]
    )
)
"""By name. Rates are requests/s."""
