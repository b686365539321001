"""How many adapters of a mix one replica serves: by a walk over replicas, or at once by trees about mixes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.artifact import MIX_TARGETS, MixTargetName
from adapter_predictor.errors import ArtifactError
from adapter_predictor.explanation import described_path
from adapter_predictor.features import FEATURE_INDEX
from adapter_predictor.mix_features import MIX_FEATURES, MIX_INDEX, mix_vector
from adapter_predictor.optima import Mix, Outcome, cells_of, optimum, outcomes
from adapter_predictor.predictor import TreePredictor
from adapter_twin.slo import STARVATION_THRESHOLD

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MixPrediction:
    """What the trees about mixes say.

    Attributes:
        adapters: Most adapters that one replica serves without starving.
        adapters_low: How many it serves at least, by the pessimistic bound.
        max_loras: The slots with which it serves them.
        throughput_tokens_per_s: Prompt and output tokens of completed requests per second, with them.
        path: The decision path to the number of adapters, one clause each.
    """

    adapters: int
    adapters_low: int
    max_loras: int
    throughput_tokens_per_s: float
    path: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """Optima of one mix, by the closed form and by the trees about replicas."""

    steady: Outcome | None
    walked: Outcome | None
    slots: tuple[int, ...]


class MixPredictor:
    """Answers the papers' question with the trees of one profile."""

    def __init__(self, predictor: TreePredictor) -> None:
        self.predictor = predictor
        mix = predictor.artifact.mix
        self._trees = (
            {} if mix is None else {n: mix.targets[n].tree.tree(len(MIX_FEATURES)) for n in MIX_TARGETS}
        )

    def walk(self, mix: Mix) -> Outcome | None:
        """The optimum that the trees about replicas find by a walk; None where one adapter is too many."""
        return self._found(mix).walked

    def features(self, mix: Mix) -> FloatArray:
        """What the trees about mixes see, shape (len(MIX_FEATURES))."""
        return _vector(mix, self._found(mix))

    def surveyed(self, mix: Mix) -> tuple[FloatArray, Outcome | None]:
        """Both at the price of one: the features, and the optimum of the walk."""
        found = self._found(mix)
        return _vector(mix, found), found.walked

    def predict(self, mix: Mix) -> MixPrediction:
        """What the trees about mixes say at once.

        Raises:
            ArtifactError: the artifact has none.
        """
        if not self._trees:
            raise ArtifactError("artifact: it has no trees about mixes; train it anew")
        found = self._found(mix)
        x = _vector(mix, found)
        tree = self._trees["most_adapters"]
        factor, leaf = x[MIX_INDEX["steady_adapters"]], tree.leaf(x)
        return MixPrediction(
            adapters=max(1, round(float(tree.value[leaf] * factor))),
            adapters_low=max(0, int(tree.low[leaf] * factor)),
            max_loras=_nearest(found.slots, self._value("best_slots", x)),
            throughput_tokens_per_s=self._value("best_throughput_tokens_per_s", x),
            path=described_path(tree, x, MIX_FEATURES),
        )

    def _value(self, name: MixTargetName, x: FloatArray) -> float:
        mix = self.predictor.artifact.mix
        scale = None if mix is None else mix.targets[name].scale
        return self._trees[name].predict_one(x) * (1.0 if scale is None else float(x[MIX_INDEX[scale]]))

    def _found(self, mix: Mix) -> _Found:
        cells = cells_of(mix, self.predictor)
        if not cells:
            return _Found(None, None, ())
        x = self.predictor.features.matrix(mix.batch(cells))
        served = np.clip(self.predictor.target("served_fraction", x)[0], 0.0, 1.0)
        tokens = self.predictor.target("throughput_tokens_per_s", x)[0]
        steady_served, steady_tokens = (x[:, FEATURE_INDEX[f"steady_{n}"]] for n in ("served", "throughput"))
        return _Found(
            optimum(outcomes(cells, steady_tokens, steady_served >= STARVATION_THRESHOLD)),
            optimum(outcomes(cells, tokens, served >= STARVATION_THRESHOLD)),
            tuple(sorted({slots for _, slots in cells})),
        )


def _vector(mix: Mix, found: _Found) -> FloatArray:
    """The features; where not even one adapter is served in the steady state, that one is taken."""
    best = found.steady
    one = (1.0, float(min(found.slots, default=1)), mix.load(1, 1).offered_tokens_per_s)
    steady = one if best is None else (float(best.adapters), float(best.max_loras), best.throughput)
    tokens = (mix.prompt_tokens_mean, mix.output_tokens_mean)
    return mix_vector(np.array(mix.rates), tokens, mix.max_lora_rank, steady)


def _nearest(slots: tuple[int, ...], wanted: float) -> int:
    """The choice of slots nearest to what a tree says, by ratio; 0 where none fits in memory."""
    return min(slots, key=lambda choice: abs(np.log(choice / wanted)), default=0)
