"""The papers' question put to the twin itself: the truth for mixes that nobody measured."""

from collections.abc import Iterator, Sequence
from typing import Final

from adapter_predictor.optima import Mix, Outcome, cells_of, outcomes
from adapter_predictor.physics import HORIZON_S
from adapter_predictor.predictor import Predictor
from adapter_predictor.simulation import simulate_load
from adapter_predictor.training.backends import Workers
from adapter_predictor.training.comparison import Comparison
from adapter_predictor.training.mixes import draw_mix
from adapter_predictor.training.sampling import Sampler
from adapter_twin.profile import Profile
from adapter_twin.slo import STARVATION_THRESHOLD

ADAPTERS: Final = (1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1000)
"""Numbers of adapters that are tried: those that were measured, and as coarse on either side."""


def twin_comparisons(predictor: Predictor, mixes: int, seed: int, workers: Workers) -> Iterator[Comparison]:
    """Predicted against the twin's optimum of each of some mixes, on one grid."""
    sampler = Sampler(predictor.profile, seed)
    calls = ((sampler, index) for index in range(mixes))
    for index, found in workers.run(_searched, calls):
        mix = draw_mix(sampler, index)
        cells = cells_of(mix, predictor, ADAPTERS)
        said = predictor.predict_batch(mix.batch(cells))
        serves = said.fits & (said.served_fraction >= STARVATION_THRESHOLD)
        predicted = outcomes(cells, said.throughput_tokens_per_s, serves)
        yield Comparison.of(f"{predictor.profile.model.name}/mix_{index:04d}", found, predicted)


def twin_walk(profile: Profile, mix: Mix, slots: Sequence[int], seed: int) -> list[Outcome]:
    """The last cell that serves and the first that starves for each number of slots.

    Found by bisection: more adapters of a mix do not starve less.
    """
    return [cell for choice in slots for cell in _edge(profile, mix, choice, seed)]


def _searched(sampler: Sampler, index: int) -> tuple[int, list[Outcome]]:
    mix = draw_mix(sampler, index)
    slots = sampler.fitting_slots(mix.max_lora_rank)
    return index, twin_walk(sampler.profile, mix, slots, sampler.arrivals_seed(index))


def _edge(profile: Profile, mix: Mix, slots: int, seed: int) -> Iterator[Outcome]:
    known: dict[int, Outcome] = {}
    low, high = -1, len(ADAPTERS)
    while high - low > 1:
        middle = (low + high) // 2
        known[middle] = _simulated(profile, mix, ADAPTERS[middle], slots, seed)
        low, high = (low, middle) if known[middle].starves else (middle, high)
    yield from (known[place] for place in (low, high) if place in known)


def _simulated(profile: Profile, mix: Mix, adapters: int, slots: int, seed: int) -> Outcome:
    report = simulate_load(profile, mix.load(adapters, slots), seed=seed, horizon_s=HORIZON_S)
    starves = report.served_fraction < STARVATION_THRESHOLD
    return Outcome(adapters, slots, report.throughput_tokens_per_s, starves)
