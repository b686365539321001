"""The model card of an artifact, as Markdown: what it is made from, how good it is, where it is unsure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adapter_predictor.artifact import MIX_TARGETS, TARGETS, Artifact, FeatureRange, TargetModel
from adapter_predictor.drawing import described_tree
from adapter_predictor.explanation import conditions, quantity
from adapter_predictor.features import FEATURES, Feature
from adapter_predictor.mix_features import MIX_FEATURES
from adapter_predictor.training.dataset import Dataset
from adapter_predictor.training.evaluation import FIGURES, TwinScores
from adapter_predictor.training.sampling import EDGE, edge_share
from adapter_predictor.training.tables import HISTOGRAM
from adapter_predictor.trees import LEAF, Tree

_LEAST_SURE: Final = 5
_IMPORTANCES: Final = 6
_NAMES: Final = {
    "served_fraction": "served fraction",
    "throughput_tokens_per_s": "throughput, tokens/s",
    "itl_s": "inter-token latency, s",
    "ttft_s": "time to first token, s",
    "most_adapters": "most adapters without starvation",
    "best_slots": "best slots",
    "best_throughput_tokens_per_s": "throughput there, tokens/s",
}


@dataclass(frozen=True)
class Evidence:
    """What an artifact was held against; None where it was not.

    Attributes:
        trained: The runs that it was trained on.
        held_out: Its scores on runs of another seed.
        measured: Its scores against measured optima.
        mixes: Its scores against the twin's own optima of random mixes.
    """

    trained: Dataset | None = None
    held_out: TwinScores | None = None
    measured: Mapping[str, Any] | None = None
    mixes: Mapping[str, Any] | None = None


def card(artifact: Artifact, evidence: Evidence, command: str, pictures: Mapping[str, str]) -> str:
    """The card.

    Args:
        artifact: The artifact.
        evidence: What it was held against.
        command: The command that makes this card.
        pictures: Files beside the card, by what they show.
    """
    sections = (
        _head(artifact, command),
        _data(artifact, evidence.trained),
        _scores(artifact),
        _held_out(evidence.held_out),
        _optima("Against measured optima", "measured", evidence.measured),
        _optima("Against the twin's own optima of random mixes", "the twin's", evidence.mixes, each=False),
        _small_tree(artifact),
        _least_sure(artifact),
        _mix_trees(artifact),
        _validity(artifact),
        (f"![{what}]({file})\n" for what, file in pictures.items()),
    )
    return "\n".join(line for section in sections for line in section)


def _head(artifact: Artifact, command: str) -> Iterator[str]:
    yield f"# Model card: {artifact.profile}\n"
    yield (
        "Decision trees that predict what one replica does with its adapters, distilled from the digital "
        "twin. They multiply the steady state in closed form ([predictor](../predictor.md)). Memory is "
        "computed, never learned.\n"
    )
    yield f"Made by `{command}`.\n"
    yield f"Format `{artifact.format}`, SHA-256 `{artifact.sha256[:16]}…`.\n"


def _data(artifact: Artifact, trained: Dataset | None) -> Iterator[str]:
    yield "## Data\n"
    for one in artifact.datasets:
        yield (
            f"- {one.samples:,} runs of the twin with {one.profile}, each {one.horizon_s:,.0f} s, seed "
            f"{one.seed}, version {one.code_version}"
        )
    yield ""
    if trained is None:
        return
    served = trained.target("served_fraction")
    counts, _ = np.histogram(served, HISTOGRAM)
    yield (
        f"{edge_share(served):.0%} of the runs serve between {EDGE[0]:.2f} and {EDGE[1]:.2f}, where "
        "starvation begins:\n"
    )
    yield from _table(
        ("served fraction from", *(f"{lower:.2f}" for lower in HISTOGRAM[:-1])),
        [("runs", *(f"{count:,}" for count in counts))],
    )


def _scores(artifact: Artifact) -> Iterator[str]:
    yield "## Out-of-fold scores\n"
    yield (
        "Five folds; MAE in the target's unit, SMAPE from 0 to 100. The small tree is the one for people; "
        "the steady state is what the trees correct.\n"
    )
    yield from _table(
        ("target", "depth", "leaves", "MAE", "SMAPE", "steady state SMAPE", "small tree MAE", "its SMAPE"),
        [_score_row(name, artifact.targets[name], FEATURES) for name in TARGETS],
    )
    yield "Depth against accuracy (MAE, leaves):\n"
    yield from _depths([(name, artifact.targets[name]) for name in TARGETS])
    yield "Nominal against empirical coverage of the pessimistic bound, on samples it was made without:\n"
    nominal = [one.nominal_percent for one in artifact.targets[TARGETS[0]].scores.coverage]
    yield from _table(
        ("target", *(f"{percent:.0f} %" for percent in nominal)),
        [(_NAMES[name], *_coverages(artifact.targets[name])) for name in TARGETS],
    )
    yield "In brackets: of the runs at the edge of starvation.\n"
    yield "What the trees ask most (share of the error that the questions remove):\n"
    for name in TARGETS:
        yield f"- {_NAMES[name]}: {_importances(artifact.targets[name])}"
    yield ""


def _score_row(name: str, model: TargetModel, features: Sequence[Feature]) -> tuple[str, ...]:
    tree, scores = model.tree.tree(len(features)), model.scores
    return (
        _NAMES[name],
        str(tree.depth),
        str(tree.leaf_count),
        f"{scores.mean_absolute_error:.3g}",
        f"{scores.smape_percent:.2f}",
        f"{scores.physics_smape_percent:.2f}",
        f"{scores.simple_mean_absolute_error:.3g}",
        f"{scores.simple_smape_percent:.2f}",
    )


def _depths(models: Sequence[tuple[str, TargetModel]]) -> Iterator[str]:
    depths = [str(score.depth) for score in models[0][1].scores.by_depth]
    rows = [
        (_NAMES[name], *(f"{one.mean_absolute_error:.3g} ({one.leaves})" for one in model.scores.by_depth))
        for name, model in models
    ]
    yield from _table(("target", *depths), rows)


def _coverages(model: TargetModel) -> Iterator[str]:
    for one in model.scores.coverage:
        edge = "" if one.edge_percent is None else f" ({one.edge_percent:.1f})"
        yield f"{one.percent:.1f}{edge}"


def _importances(model: TargetModel, features: Sequence[Feature] = FEATURES) -> str:
    words = {feature.name: feature.description for feature in features}
    first = sorted(model.importances.items(), key=lambda item: -item[1])[:_IMPORTANCES]
    return "; ".join(f"{words[name]} {weight:.0%}" for name, weight in first)


def _held_out(scores: TwinScores | None) -> Iterator[str]:
    if scores is None:
        return
    yield "## Against the twin\n"
    yield f"{scores.samples:,} runs of another seed, which no tree has seen.\n"
    rows = [
        (_NAMES[name], f"{scores.smape_percent[name]:.2f}", f"{scores.coverage_percent[name]:.1f}")
        for name in TARGETS
    ]
    yield from _table(("target", "SMAPE", "within the 90 % bound, %"), rows)
    yield (
        f"Served fraction: mean error {scores.served_mean_absolute_error:.4f}"
        + (
            f", at the edge of starvation {scores.edge_mean_absolute_error:.4f}"
            if scores.edge_mean_absolute_error is not None
            else ""
        )
        + f"; macro-F1 of the verdict “starves” {scores.starvation_macro_f1:.3f}.\n"
    )


def _optima(title: str, truth: str, found: Mapping[str, Any] | None, *, each: bool = True) -> Iterator[str]:
    if found is None:
        return
    yield f"## {title}\n"
    yield (
        "How many adapters one replica serves without starving, with which slots, at what throughput: "
        f"predicted ({truth}).\n"
    )
    rows = []
    if each:
        for name, one in found["by_combination"].items():
            cells = (_pair(one, figure) for figure in ("adapters", "max_loras", "throughput"))
            rows.append(
                (f"`{name.partition('/')[2]}`", *cells, *(f"{one[figure]:.1f}" for figure in FIGURES))
            )
    overall = (f"{found['overall'][figure]:.1f}" for figure in FIGURES)
    rows.append((f"mean of {len(found['by_combination'])}", "", "", "", *overall))
    heads = ("adapters", "slots", "tokens/s", "adapters SMAPE", "tokens/s SMAPE", "slots regret %")
    yield from _table(("combination", *heads), rows)


def _pair(one: Mapping[str, Any], figure: str) -> str:
    said, true = (
        "none" if one[side] is None else f"{one[side][figure]:,.0f}" for side in ("predicted", "measured")
    )
    return f"{said} ({true})"


def _small_tree(artifact: Artifact) -> Iterator[str]:
    model = artifact.targets["served_fraction"]
    scores = model.scores
    yield "## The small tree of the served fraction\n"
    yield (
        f"It errs by {scores.simple_mean_absolute_error:.3f} on runs that it has not seen, the full tree of "
        f"{model.tree.tree().leaf_count} leaves by {scores.mean_absolute_error:.3f}: reading costs "
        f"{scores.simple_mean_absolute_error - scores.mean_absolute_error:.3f} of served fraction.\n"
    )
    yield "```"
    yield from described_tree(model.simple.tree.tree(), model.simple.scale)
    yield "```\n"


def _least_sure(artifact: Artifact) -> Iterator[str]:
    tree = artifact.targets["served_fraction"].tree.tree()
    leaves = np.flatnonzero(tree.feature == LEAF)
    widest = leaves[np.argsort(tree.low[leaves] - tree.value[leaves], kind="stable")][:_LEAST_SURE]
    yield "## Where it is least sure\n"
    yield (
        f"The leaves of the served fraction whose {artifact.bound_percent:.0f} % bound lies furthest below "
        "the estimate, as a part of the steady state's:\n"
    )
    for leaf in widest:
        distance = tree.value[leaf] - tree.low[leaf]
        yield f"- {distance:.3f} ({tree.samples[leaf]:,} runs): {_where(tree, int(leaf))}"
    yield ""


def _where(tree: Tree, leaf: int) -> str:
    return "; ".join(conditions(tree, leaf, FEATURES)) or "everywhere"


def _mix_trees(artifact: Artifact) -> Iterator[str]:
    if artifact.mix is None:
        return
    targets = artifact.mix.targets
    yield "## Trees about mixes\n"
    yield (
        f"Distilled from the walk over the trees above, on {artifact.mix.mixes:,} mixes: most adapters of a "
        "mix that one replica serves, the slots to choose, and the throughput there.\n"
    )
    yield from _table(
        ("target", "depth", "leaves", "MAE", "SMAPE", "steady state SMAPE", "small tree MAE", "its SMAPE"),
        [_score_row(name, targets[name], MIX_FEATURES) for name in MIX_TARGETS],
    )
    small = targets["most_adapters"].simple
    yield "Most adapters, the small tree:\n"
    yield "```"
    yield from described_tree(small.tree.tree(len(MIX_FEATURES)), small.scale, MIX_FEATURES, "mixes")
    yield "```\n"


def _validity(artifact: Artifact) -> Iterator[str]:
    yield "## Validity\n"
    yield (
        "Trained within these ranges; a prediction outside any of them comes with a warning (`adaptwin "
        "predictor explain`, `adaptwin plan`). Not learned: other engines, arrivals burstier than Poisson, "
        "shapes of lengths other than the profile's. Pessimistic bounds of latencies lie above, the others "
        "below.\n"
    )
    rows = [_range(feature, one) for feature, one in zip(FEATURES, artifact.features, strict=True)]
    yield from _table(("feature", "from", "to"), rows)


def _range(feature: Feature, one: FeatureRange) -> tuple[str, str, str]:
    return feature.description, quantity(feature, one.lower), quantity(feature, one.upper)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
