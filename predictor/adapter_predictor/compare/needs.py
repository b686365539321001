"""How many GPUs a contender needs: the fewest replicas with which the twin sees nobody starve."""

from collections.abc import Callable
from dataclasses import dataclass, field

from adapter_predictor.compare.verdicts import Verdict


@dataclass
class Search:
    """The fewest replicas that do, by strides away from a guess and bisection; remembers every verdict.

    Attributes:
        verdict_on: Asks the twin about the contender's plan on so many replicas; None where it has no plan.
        most: No more replicas are tried.
        known: Verdicts so far, by replicas.
    """

    verdict_on: Callable[[int], Verdict | None]
    most: int
    known: dict[int, Verdict | None] = field(default_factory=dict)

    def fewest(self, guess: int) -> int | None:
        """The fewest replicas that serve; None where not even the most do."""
        low, high = (0, guess) if self.serves(guess) else (guess, None)
        if high is None:
            low, high = self._above(low)
        else:
            low, high = self._below(high)
        while high is not None and high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.serves(middle) else (middle, high)
        return high

    def serves(self, replicas: int) -> bool:
        """Whether the twin sees nobody starve with so many replicas."""
        if replicas not in self.known:
            self.known[replicas] = self.verdict_on(replicas)
        verdict = self.known[replicas]
        return verdict is not None and verdict.serves

    def _above(self, failed: int) -> tuple[int, int | None]:
        """The last number that failed and the first that did, going up."""
        low, stride = failed, 1
        while low < self.most:
            tried = min(self.most, low + stride)
            if self.serves(tried):
                return low, tried
            low, stride = tried, 2 * stride
        return low, None

    def _below(self, served: int) -> tuple[int, int]:
        """The last number that failed and the first that did, going down."""
        high, stride = served, 1
        while high > 1:
            tried = max(1, high - stride)
            if not self.serves(tried):
                return tried, high
            high, stride = tried, 2 * stride
        return 0, high
