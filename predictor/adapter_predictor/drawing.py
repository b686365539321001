"""Trees for people: in words, and drawn."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter_predictor.errors import PredictionError
from adapter_predictor.explanation import quantity
from adapter_predictor.features import FEATURES, Feature
from adapter_predictor.trees import LEAF, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAF_WIDTH_INCHES: Final = 1.75
_LEVEL_HEIGHT_INCHES: Final = 1.35
_WORDS_WIDTH: Final = 22
_QUIET, _LOUD = "#9aa3ad", "#c2410c"
_QUESTION, _ANSWER = "#eef3fa", "#e9f6ea"


def described_tree(
    tree: Tree, scale: str | None, features: Sequence[Feature] = FEATURES, samples: str = "runs"
) -> list[str]:
    """A tree as indented lines, questions first; `samples` is what its leaves hold."""
    return [f"{line} {samples})" if "→" in line else line for line in _lines(tree, scale, features, 0, 0)]


def _lines(
    tree: Tree, scale: str | None, features: Sequence[Feature], node: int, depth: int
) -> Iterator[str]:
    indent = "  " * depth
    if tree.feature[node] == LEAF:
        yield f"{indent}→ {_verdict(tree, node, scale, features)}  ({tree.samples[node]:,}"
        return
    feature = features[int(tree.feature[node])]
    threshold = quantity(feature, float(tree.threshold[node]))
    yield f"{indent}{feature.description} at most {threshold}?"
    yield from _lines(tree, scale, features, int(tree.left[node]), depth + 1)
    yield f"{indent}{feature.description} above {threshold}:"
    yield from _lines(tree, scale, features, int(tree.right[node]), depth + 1)


def _verdict(tree: Tree, node: int, scale: str | None, features: Sequence[Feature] = FEATURES) -> str:
    value = float(tree.value[node])
    said = f"{value:,.0f}" if value >= 1000.0 else f"{value:.3g}"
    return said if scale is None else f"{said} × {_scale_words(scale, features)}"


def _scale_words(scale: str, features: Sequence[Feature]) -> str:
    return next(feature.description for feature in features if feature.name == scale)


def plot_tree(
    tree: Tree,
    scale: str | None,
    title: str,
    path: Path,
    features: Sequence[Feature] = FEATURES,
    walked: Sequence[int] = (),
) -> None:
    """Draw a tree.

    Args:
        tree: The tree.
        scale: The feature that its value multiplies.
        title: What it is of.
        path: Where to draw; the ending (.svg, .png, .pdf) names the format.
        features: What its questions are about.
        walked: Nodes of a decision, from the root, which stand out.

    Raises:
        PredictionError: matplotlib is missing.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra: only plots need it
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise PredictionError("plot: matplotlib is missing; install adaptwin[report]") from error
    places = _places(tree)
    size = (_LEAF_WIDTH_INCHES * tree.leaf_count + 1.0, _LEVEL_HEIGHT_INCHES * (tree.depth + 1) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    factor = "" if scale is None else f"\na leaf's number multiplies: {_scale_words(scale, features)}"
    axes.set_title(f"{title}{factor}")
    steps = set(pairwise(walked))
    for node in range(len(tree.feature)):
        _draw_branches(axes, tree, node, places, steps)
        _draw_node(axes, tree, node, places, features, stands_out=node in walked)
    axes.margins(0.6 / tree.leaf_count, 0.1)
    with mpl.rc_context({"svg.hashsalt": "adaptwin", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_branches(
    axes: "Axes",
    tree: Tree,
    node: int,
    places: dict[int, tuple[float, float]],
    steps: set[tuple[int, int]],
) -> None:
    if tree.feature[node] == LEAF:
        return
    x, y = places[node]
    for child, answer in ((int(tree.left[node]), "yes"), (int(tree.right[node]), "no")):
        cx, cy = places[child]
        taken = (node, child) in steps
        colour = _LOUD if taken else _QUIET
        axes.plot([x, cx], [y, cy], color=colour, linewidth=2.2 if taken else 1.0, zorder=1)
        box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"}
        axes.text(
            0.45 * x + 0.55 * cx,
            0.45 * y + 0.55 * cy,
            answer,
            ha="center",
            fontsize=8,
            color=colour,
            bbox=box,
        )


def _draw_node(
    axes: "Axes",
    tree: Tree,
    node: int,
    places: dict[int, tuple[float, float]],
    features: Sequence[Feature],
    *,
    stands_out: bool,
) -> None:
    inner = tree.feature[node] != LEAF
    runs = f"{tree.samples[node]:,} runs"
    text = _question(tree, node, features) if inner else f"{_verdict(tree, node, None)}\n{runs}"
    box = {
        "boxstyle": "round",
        "fc": _QUESTION if inner else _ANSWER,
        "ec": _LOUD if stands_out else "0.5",
        "linewidth": 2.0 if stands_out else 0.8,
    }
    axes.text(*places[node], text, ha="center", va="center", fontsize=8 if inner else 9, bbox=box)


def _question(tree: Tree, node: int, features: Sequence[Feature]) -> str:
    feature = features[int(tree.feature[node])]
    words = textwrap.fill(feature.description, _WORDS_WIDTH)
    return f"{words}\n≤ {quantity(feature, float(tree.threshold[node]))}?"


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
