"""An artifact described for people: its trees in words, and a plot of one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adapter_predictor.artifact import Artifact, TargetName
from adapter_predictor.errors import PredictionError
from adapter_predictor.explanation import quantity
from adapter_predictor.features import FEATURES
from adapter_predictor.trees import LEAF, Tree

_LEAF_WIDTH_INCHES = 1.9
_LEVEL_HEIGHT_INCHES = 1.3


def described_tree(tree: Tree, scale: str | None) -> list[str]:
    """A tree as indented lines, questions first."""
    return list(_lines(tree, scale, node=0, depth=0))


def _lines(tree: Tree, scale: str | None, node: int, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if tree.feature[node] == LEAF:
        yield f"{indent}→ {_verdict(tree, node, scale)}  ({tree.samples[node]:,} runs)"
        return
    feature = FEATURES[int(tree.feature[node])]
    threshold = quantity(feature, float(tree.threshold[node]))
    yield f"{indent}{feature.description} at most {threshold}?"
    yield from _lines(tree, scale, int(tree.left[node]), depth + 1)
    yield f"{indent}{feature.description} above {threshold}:"
    yield from _lines(tree, scale, int(tree.right[node]), depth + 1)


def _verdict(tree: Tree, node: int, scale: str | None) -> str:
    value = f"{tree.value[node]:.3g}"
    return value if scale is None else f"{value} × {_scale_words(scale)}"


def _scale_words(scale: str) -> str:
    return next(feature.description for feature in FEATURES if feature.name == scale)


def plot_tree(artifact: Artifact, target: TargetName, path: Path) -> None:
    """Draw a target's tree for people; the ending of `path` (.svg, .png, .pdf) names the format."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra: only plots need it
    except ImportError as error:
        raise PredictionError("plot: matplotlib is missing; install adaptwin[report]") from error
    model = artifact.targets[target]
    tree = model.simple.tree()
    places = _places(tree)
    figure = Figure(
        figsize=(_LEAF_WIDTH_INCHES * tree.leaf_count, _LEVEL_HEIGHT_INCHES * (tree.depth + 1.5)),
        layout="constrained",
    )
    axes = figure.add_subplot()
    axes.set_axis_off()
    factor = "" if model.scale is None else f", as a factor on the {_scale_words(model.scale)}"
    axes.set_title(f"{artifact.profile}: {target.replace('_', ' ')}{factor}")
    for node, (x, y) in places.items():
        inner = tree.feature[node] != LEAF
        for child, answer in ((tree.left[node], "yes"), (tree.right[node], "no")) if inner else ():
            cx, cy = places[int(child)]
            axes.plot([x, cx], [y, cy], color="0.6", zorder=1)
            axes.text(0.5 * (x + cx), 0.5 * (y + cy), answer, ha="center", fontsize=7, color="0.3")
        text = (
            _question(tree, node) if inner else f"{_verdict(tree, node, None)}\n{tree.samples[node]:,} runs"
        )
        color = "#eef3fa" if inner else "#e9f6ea"
        axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox={"boxstyle": "round", "fc": color})
    axes.margins(0.08, 0.15)
    figure.savefig(path)


def _question(tree: Tree, node: int) -> str:
    feature = FEATURES[int(tree.feature[node])]
    words = feature.description.split()
    half = int(np.ceil(len(words) / 2))
    name = f"{' '.join(words[:half])}\n{' '.join(words[half:])}"
    return f"{name}\n≤ {quantity(feature, float(tree.threshold[node]))}"


def _places(tree: Tree) -> dict[int, tuple[float, float]]:
    """Where each node is drawn: leaves side by side, parents above the middle of their children."""
    places: dict[int, tuple[float, float]] = {}
    leaves = iter(range(len(tree.feature)))

    def put(node: int, depth: int) -> float:
        if tree.feature[node] == LEAF:
            x = float(next(leaves))
        else:
            x = 0.5 * (put(int(tree.left[node]), depth + 1) + put(int(tree.right[node]), depth + 1))
        places[node] = (x, float(-depth))
        return x

    put(0, 0)
    return places
