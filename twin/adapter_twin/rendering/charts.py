"""Charts as SVG elements for pages: no scripts, no requests, colours from the page's style sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

WIDTH, WIDE, HEIGHT = 450.0, 1280.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 12.0, 12.0, 38.0
_MOST_BARS = 400
_LABEL_WIDTH, _LABEL_HEIGHT = 24.0, 11.0
_GAPLESS_WIDTH = 4.0


@dataclass(frozen=True)
class Scale:
    """From values to pixels along one axis."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Pixels of values, same shape."""
        low, high, place = self.low, self.high, np.asarray(values, dtype=np.float64)
        if self.logarithmic:
            low, high, place = math.log(low), math.log(high), np.log(place)
        pixels: NDArray[np.float64] = self.start + (place - low) / (high - low) * (self.end - self.start)
        return pixels

    def ticks(self) -> list[float]:
        """Round values within the scale."""
        if self.logarithmic:
            low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1.0,) if high - low > 3 else (1.0, 2.0, 5.0)
            candidates = [step * 10.0**power for power in range(low, high + 1) for step in steps]
            return [value for value in candidates if self.low <= value <= self.high]
        step = _round_step((self.high - self.low) / 5)
        return [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def line_chart(
    label: str,
    x: NDArray[np.float64],
    lines: Mapping[str, NDArray[np.float64]],
    *,
    unit: str,
    top: float | None = None,
    least_top: float = 0.0,
) -> Markup:
    """Lines over time.

    Args:
        label: what a screen reader says.
        x: minutes, shape (n,).
        lines: values by name, shape (n,) each; at most three.
        unit: of the values.
        top: end of the y axis; None: a round value above all.
        least_top: which that value must reach.
    """
    most = max((float(np.nanmax(values)) for values in lines.values()), default=0.0)
    across = Scale(0.0, max(float(x[-1] + x[0]), 1e-9), _LEFT, WIDTH - _RIGHT)
    up = Scale(0.0, top or _round_top(max(most, least_top)), HEIGHT - _BOTTOM, _TOP)
    parts = [*_y_axis(up, unit), *_x_axis(across, "minutes", short)]
    for i, values in enumerate(lines.values(), start=1):
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(across.at(x), up.at(values), strict=True))
        base = f"{across.at(x[0]):.1f},{up.start} {points} {across.at(x[-1]):.1f},{up.start}"
        if len(lines) == 1:
            parts.append(f'<polygon class="area c{i}" points="{base}"/>')
        parts.append(f'<polyline class="line c{i}" points="{points}"/>')
    return _svg(label, parts)


def histogram_chart(
    label: str, edges: NDArray[np.float64], counts: NDArray[np.int64], marks: Mapping[str, float]
) -> Markup:
    """Shares per bin over a logarithmic axis of seconds, with marks at percentiles.

    Args:
        label: what a screen reader says.
        edges: ascending and positive, shape (bins + 1,).
        counts: shape (bins,).
        marks: seconds by name.
    """
    shares = 100.0 * counts / counts.sum()
    low, high = _without_tails(edges, counts)
    across = Scale(low, high, _LEFT, WIDTH - _RIGHT, logarithmic=True)
    up = Scale(0.0, _round_top(float(shares.max())), HEIGHT - _BOTTOM, _TOP + 3 * _LABEL_HEIGHT)
    parts = [*_y_axis(up, "% of values"), *_x_axis(across, "", duration)]
    for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if share > 0 and left < high and right > low:
            tip = f"{duration(left)} to {duration(right)}: {share:.2g} %"
            start, end = across.at(max(left, low)), across.at(min(right, high))
            parts.append(_bar("c1", float(start), float(up.at(share)), float(end - start), up.start, tip))
    for i, (name, seconds) in enumerate(marks.items()):
        if low <= seconds <= high:
            place, height = float(across.at(seconds)), _TOP + i * _LABEL_HEIGHT
            parts.append(_line("mark", place, place, height, up.start))
            side, gap = ("left", -3) if place > across.end - _LABEL_WIDTH else ("right", 3)
            at = f'x="{place + gap:.1f}" y="{height + 6:.1f}"'
            parts.append(f'<text class="mark {side}" {at}>{escape(name)}</text>')
    return _svg(label, parts)


def served_chart(
    label: str, fractions: NDArray[np.float64], names: Sequence[str], threshold: float
) -> Markup:
    """Bars of each adapter's served fraction, worst first, those below the threshold in another colour."""
    order = np.argsort(fractions, kind="stable")
    groups = np.array_split(order, min(order.size, _MOST_BARS))
    across = Scale(0.0, float(len(groups)), _LEFT, WIDE - _RIGHT)
    up = Scale(0.0, 1.0, HEIGHT - _BOTTOM, _TOP)
    step = float(across.at(1.0) - across.at(0.0))
    width = step if step < _GAPLESS_WIDTH else 0.86 * step
    parts = _y_axis(up, "served fraction", across.end)
    for i, group in enumerate(groups):
        worst = group[0]
        tip = f"{names[worst]}: {fractions[worst]:.1%}"
        if group.size > 1:
            tip += f", the least of {group.size} adapters"
        style = "bad" if fractions[worst] < threshold else "c1"
        left, top = float(across.at(float(i))), float(up.at(fractions[worst]))
        parts.append(_bar(style, left, top, width, up.start, tip))
    height = float(up.at(threshold))
    parts.append(_line("limit", across.start, across.end, height, height))
    title = f"{order.size:,} adapters, worst first; the dashed line is {threshold:.0%}"
    parts.append(_x_title(title, across))
    return _svg(label, parts, WIDE)


def short(value: float) -> str:
    """A number on an axis."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.6g}k"
    return f"{value:,.6g}"


def tidy(value: float) -> str:
    """A number in a legend, with as many digits as it deserves."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}" if value >= 0.01 else f"{value:.0f}"


def duration(seconds: float) -> str:
    """A time on an axis."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} µs"
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:,.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9)))


def _round_top(most: float) -> float:
    if not most > 0:
        return 1.0
    step = _round_step(most / 5)
    return step * math.ceil(most / step + 1e-9)


def _without_tails(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """The range that leaves out a thousandth of the values at either end."""
    cumulative = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(cumulative, 0.001, side="right"))
    last = min(int(np.searchsorted(cumulative, 0.999)), counts.size - 1)
    return float(edges[first]), float(edges[last + 1])


def _y_axis(up: Scale, unit: str, right: float = WIDTH - _RIGHT) -> list[str]:
    turned = f"translate(13 {(up.start + up.end) / 2}) rotate(-90)"
    parts = [f'<text class="unit" transform="{turned}">{escape(unit)}</text>']
    for value in up.ticks():
        y = float(up.at(value))
        parts.append(_line("grid", _LEFT, right, y, y))
        parts.append(f'<text class="y" x="{_LEFT - 7}" y="{y + 4:.1f}">{short(value)}</text>')
    return parts


def _x_axis(across: Scale, unit: str, written: Callable[[float], str]) -> list[str]:
    base = HEIGHT - _BOTTOM
    parts = [_x_title(unit, across)] if unit else []
    for value in across.ticks():
        x = float(across.at(value))
        parts.append(_line("tick", x, x, base, base + 4))
        parts.append(f'<text class="x" x="{x:.1f}" y="{base + 16}">{escape(written(value))}</text>')
    return parts


def _x_title(text: str, across: Scale) -> str:
    middle = (across.start + across.end) / 2
    return f'<text class="unit" x="{middle}" y="{HEIGHT - 4}">{escape(text)}</text>'


def _line(style: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _bar(style: str, left: float, top: float, width: float, base: float, tip: str) -> str:
    height = max(base - top, 0.8)
    box = f'x="{left:.2f}" y="{base - height:.1f}" width="{max(width, 0.5):.2f}" height="{height:.1f}"'
    return f'<rect class="bar {style}" {box}><title>{escape(tip)}</title></rect>'


def _svg(label: str, parts: Iterable[str], width: float = WIDTH) -> Markup:
    frame = f'<svg viewBox="0 0 {width:g} {HEIGHT:g}" role="img" aria-label="{escape(label)}">'
    return Markup(f"{frame}{''.join(parts)}</svg>")  # noqa: S704 - every text in it is escaped
