"""Judging replicas: does any choice of slots meet the objectives, and which is best?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.load import SLOT_GRID, LoadBatch
from adapter_predictor.placement.demand import Objectives, TokenMeans
from adapter_predictor.prediction import Prediction, PredictionBatch
from adapter_predictor.predictor import Predictor
from adapter_twin.memory import ALLOWED_LORA_RANKS

FloatArray = NDArray[np.float64]

FULL_MARGIN_HEADROOM: Final = 0.10
"""From this headroom on, pessimistic bounds count in full; with none, the estimates themselves."""


class Slots(NamedTuple):
    """A replica's adapter slots."""

    max_loras: int
    max_lora_rank: int


class Contents(NamedTuple):
    """What a replica holds: requests/s of its adapters, and the highest of their ranks."""

    rates: FloatArray
    rank: int


@dataclass(frozen=True)
class Option:
    """What a replica would do with some slots, headroom and margin counted.

    Attributes:
        slots: The slots.
        feasible: Whether the objectives are met.
        served_fraction: The served fraction.
        itl_s: Mean inter-token latency in seconds.
        coverage: Slots over adapters that have a request at a time, at most 1: who has no slot waits, and the
            coldest wait longest.
    """

    slots: Slots
    feasible: bool
    served_fraction: float
    itl_s: float
    coverage: float

    def quality(self) -> tuple[bool, float, float, float, int]:
        """What makes an option better.

        Meeting the objectives; then, if it does, that few adapters wait for slots; then serving more, being
        faster, fewer slots.
        """
        coverage = round(self.coverage, 1) if self.feasible else 0.0
        served = round(self.served_fraction, 3)
        return self.feasible, coverage, served, -self.itl_s, -self.slots.max_loras


def smallest_rank(rank: int) -> int:
    """The least rank that vLLM allows for slots which hold adapters of `rank`."""
    return next(allowed for allowed in ALLOWED_LORA_RANKS if allowed >= rank)


class Judge:
    """Asks the predictor about replicas, with one placement's objectives, headroom and margin."""

    def __init__(
        self,
        predictor: Predictor,
        objectives: Objectives,
        tokens: TokenMeans,
        *,
        extra_headroom: float = 0.0,
        excluded: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.predictor = predictor
        self.objectives = objectives
        self.tokens = tokens
        derived = predictor.profile.safety_margin_percent / 100.0
        self.extra_headroom = extra_headroom
        self.headroom = objectives.headroom + extra_headroom + derived
        self.margin = min(1.0, max(0.0, self.headroom / FULL_MARGIN_HEADROOM))
        self._excluded = frozenset(excluded)
        self._grids: dict[int, tuple[Slots, ...]] = {}

    def stricter(self, extra_headroom: float) -> "Judge":
        """A judge who asks for more headroom, or for less where it is negative."""
        return Judge(
            self.predictor,
            self.objectives,
            self.tokens,
            extra_headroom=self.extra_headroom + extra_headroom,
            excluded=self._excluded,
        )

    def grid(self, rank: int) -> tuple[Slots, ...]:
        """The choices of slots that hold adapters of `rank` and fit in memory."""
        if rank not in self._grids:
            padded = smallest_rank(rank)
            choices = (Slots(slots, padded) for slots in SLOT_GRID)
            self._grids[rank] = tuple(
                slots
                for slots in choices
                if slots not in self._excluded and self.predictor.memory(*slots).fits
            )
        return self._grids[rank]

    def choices(self, contents: Contents) -> tuple[Slots, ...]:
        """The choices worth asking about: more slots than adapters help nobody."""
        grid = self.grid(contents.rank)
        enough = next(
            (i for i, slots in enumerate(grid) if slots.max_loras >= len(contents.rates)), len(grid)
        )
        return grid[: enough + 1]

    def options(self, replicas: Sequence[Contents]) -> list[tuple[Option, ...]]:
        """For each replica what every choice of slots worth asking about would do."""
        asked, flat = self._asked(replicas)
        said = iter(zip(*self._verdicts(flat), strict=True))
        return [
            tuple(
                Option(
                    slots,
                    feasible=bool(good),
                    served_fraction=float(served),
                    itl_s=float(itl),
                    coverage=self._coverage(contents, slots, float(itl)),
                )
                for slots, (served, itl, good) in zip(choices, said, strict=False)
            )
            for contents, choices in zip(replicas, asked, strict=True)
        ]

    def best(self, replicas: Sequence[Contents]) -> list[Option | None]:
        """For each replica the best choice of slots; None where none fits in memory."""
        return [max(options, key=Option.quality, default=None) for options in self.options(replicas)]

    def carries(self, replicas: Sequence[Contents]) -> NDArray[np.bool_]:
        """For each replica whether any choice of slots meets the objectives, shape (n)."""
        asked, flat = self._asked(replicas)
        owner = np.repeat(np.arange(len(replicas)), [len(choices) for choices in asked])
        good = self._verdicts(flat)[2]
        return np.bincount(owner[good], minlength=len(replicas)) > 0

    def feasible(self, replicas: Sequence[tuple[Contents, Slots]]) -> NDArray[np.bool_]:
        """Whether replicas with given slots meet the objectives, shape (n)."""
        return self._verdicts(replicas)[2]

    def served(self, replicas: Sequence[tuple[Contents, Slots]]) -> FloatArray:
        """Served fractions with headroom and margin, shape (n)."""
        return self._verdicts(replicas)[0]

    def forecast(self, replicas: Sequence[tuple[Contents, Slots]]) -> list[Prediction]:
        """What replicas will deliver at the declared rates."""
        batch = self._predict(replicas, headroom=0.0)
        return [batch[index] for index in range(len(batch))]

    def _coverage(self, contents: Contents, slots: Slots, itl_s: float) -> float:
        """Slots over adapters that are expected to have a request at a time, at most 1."""
        if not np.isfinite(itl_s):
            return 0.0
        stay_s = self.tokens.output * itl_s
        active = float((1.0 - np.exp(-contents.rates * (1.0 + self.headroom) * stay_s)).sum())
        return min(1.0, slots.max_loras / max(active, 1.0))

    def _asked(
        self, replicas: Sequence[Contents]
    ) -> tuple[list[tuple[Slots, ...]], list[tuple[Contents, Slots]]]:
        """Each replica's choices of slots, and all replicas with all of their choices one after another."""
        asked = [self.choices(contents) for contents in replicas]
        sorted_once = [Contents(np.sort(contents.rates), contents.rank) for contents in replicas]
        flat = [(c, slots) for c, choices in zip(sorted_once, asked, strict=True) for slots in choices]
        return asked, flat

    def _verdicts(
        self, replicas: Sequence[tuple[Contents, Slots]]
    ) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Served fraction and latency with headroom and margin, and whether the objectives are met."""
        if not replicas:
            return np.empty(0), np.empty(0), np.empty(0, dtype=np.bool_)
        said = self._predict(replicas, headroom=self.headroom)
        served = self._between(said.served_fraction, said.served_fraction_low)
        itl = self._between(said.itl_s, said.itl_high_s)
        ttft = self._between(said.ttft_s, said.ttft_high_s)
        wanted = self.objectives
        good = said.fits & (served >= wanted.served_fraction)
        good &= itl <= (np.inf if wanted.itl_s is None else wanted.itl_s)
        good &= ttft <= (np.inf if wanted.ttft_s is None else wanted.ttft_s)
        return served, itl, good

    def _between(self, estimate: FloatArray, bound: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):
            moved = estimate + self.margin * (bound - estimate)
        return np.where(np.isfinite(estimate), moved, estimate)

    def _predict(self, replicas: Sequence[tuple[Contents, Slots]], *, headroom: float) -> PredictionBatch:
        loads = LoadBatch.build(
            [np.sort(contents.rates) * (1.0 + headroom) for contents, _ in replicas],
            prompt_tokens_mean=self.tokens.prompt,
            output_tokens_mean=self.tokens.output,
            max_loras=[slots.max_loras for _, slots in replicas],
            max_lora_rank=[slots.max_lora_rank for _, slots in replicas],
        )
        return self.predictor.predict_batch(loads)
