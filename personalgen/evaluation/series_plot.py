"""Figures over nights as small pictures side by side: a line, the range that is not odd, the newest value in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _COLUMNS = 210, 84, 3
_LEFT, _TOP, _BOTTOM = 8, 34, 8


@dataclass(frozen=True)
class Series:
    """One figure over nights."""

    name: str
    values: Sequence[float]
    """The newest last."""
    low: float | None
    """Tonight's lower bound."""
    high: float | None
    """Tonight's upper bound."""
    status: str


def series_svg(series: Sequence[Series]) -> str:
    """Return the pictures as one SVG, three in a row; empty where there is nothing to show."""
    shown = [one for one in series if one.values]
    if not shown:
        return ""
    height = _HEIGHT * -(-len(shown) // _COLUMNS)
    cells = "".join(_cell(one, k % _COLUMNS * _WIDTH, k // _COLUMNS * _HEIGHT) for k, one in enumerate(shown))
    label = f"{len(shown)} figures of the source over nights"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH * _COLUMNS} {height}" '
        f'width="{_WIDTH * _COLUMNS}" font-size="11" fill="currentColor">{cells}</svg>'
    )


def _cell(series: Series, x: float, y: float) -> str:
    """Return one picture at its place."""
    ends = [*series.values, *(bound for bound in (series.low, series.high) if bound is not None)]
    low, high = min(ends), max(ends)
    spread = (high - low) or 1.0
    down = _HEIGHT - _BOTTOM
    heights = [down - (down - _TOP) * (value - low) / spread for value in series.values]
    step = (_WIDTH - 3 * _LEFT) / max(len(heights) - 1, 1)
    points = " ".join(f"{_LEFT + k * step:.1f},{value:.1f}" for k, value in enumerate(heights))
    bounds = "".join(
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 2 * _LEFT}" y1="{place:.1f}" y2="{place:.1f}" '
        'stroke-dasharray="3 3"/>'
        for bound in (series.low, series.high)
        if bound is not None
        for place in [down - (down - _TOP) * (bound - low) / spread]
    )
    last = len(heights) - 1
    return (
        f'<g transform="translate({x},{y})"><title>{escape(series.name)}: {escape(series.status)}</title>'
        f'<text x="{_LEFT}" y="14">{escape(series.name)}</text>'
        f'<text x="{_LEFT}" y="27" opacity=".7">{series.values[-1]:.4g} · {escape(series.status)}</text>{bounds}'
        f'<g class="of-value"><polyline points="{points}" fill="none" stroke-width="1.5"/>'
        f'<circle cx="{_LEFT + last * step:.1f}" cy="{heights[-1]:.1f}" r="3" stroke="none"/></g></g>'
    )
