"""The curve of knobs as a picture: personal fit over KID, every point with its intervals and its knobs, as SVG."""

from collections.abc import Sequence
from html import escape

from personalgen.evaluation.interval import Interval
from personalgen.evaluation.operating_curve import CurvePoint

_WIDTH, _HEIGHT, _LEFT, _EDGE, _BELOW = 640, 320, 64, 24, 48
_TICKS = 4


def curve_svg(points: Sequence[CurvePoint], chosen: tuple[float, float]) -> str:
    """Return the plot; `chosen` are guidance and truncation of the point that is marked. Empty without points."""
    if not points:
        return ""
    x = _Axis([point.kid for point in points], _LEFT, _WIDTH - _EDGE)
    y = _Axis([point.gain for point in points], _HEIGHT - _BELOW, _EDGE)
    marks = [_mark(point, x, y, is_chosen=(point.guidance, point.truncation_psi) == chosen) for point in points]
    label = f"Gain over shuffled users against KID at {len(points)} operating points"
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'font-size="12" fill="currentColor">{_frame(x, y)}{"".join(marks)}</svg>'
    )


class _Axis:
    """Places of values between two edges, the intervals of all points inside."""

    def __init__(self, values: Sequence[Interval], start: float, stop: float) -> None:
        ends = [end for value in values for end in (value.low, value.high)]
        self.low, self.high = min(ends), max(ends)
        if self.high <= self.low:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self.start, self.stop = start, stop

    def at(self, value: float) -> float:
        return self.start + (self.stop - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        return [self.low + (self.high - self.low) * k / _TICKS for k in range(_TICKS + 1)]


def _frame(x: _Axis, y: _Axis) -> str:
    bottom = _HEIGHT - _BELOW
    lines = (
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _EDGE}" y1="{bottom}" y2="{bottom}"/>'
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_EDGE}" y2="{bottom}"/>'
    )
    below = "".join(
        f'<text x="{x.at(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:.3g}</text>' for tick in x.ticks()
    )
    beside = "".join(
        f'<text x="{_LEFT - 8}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{tick:.3g}</text>' for tick in y.ticks()
    )
    names = (
        f'<text x="{(_LEFT + _WIDTH - _EDGE) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">KID (lower is better)</text>'
        f'<text x="{_LEFT}" y="14">gain over shuffled users (higher is better)</text>'
    )
    return lines + below + beside + names


def _mark(point: CurvePoint, x: _Axis, y: _Axis, *, is_chosen: bool) -> str:
    """Return a cross of both intervals, a dot, and the knobs beside it."""
    across, up = x.at(point.kid.value), y.at(point.gain.value)
    knobs = f"guidance {point.guidance:g}, truncation {point.truncation_psi:g}"
    return (
        f'<g class="{"of-value" if is_chosen else "of-control"}"><title>{escape(knobs)}</title>'
        f'<line x1="{x.at(point.kid.low):.1f}" x2="{x.at(point.kid.high):.1f}" y1="{up:.1f}" y2="{up:.1f}"/>'
        f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{y.at(point.gain.low):.1f}" y2="{y.at(point.gain.high):.1f}"/>'
        f'<circle cx="{across:.1f}" cy="{up:.1f}" r="{6 if is_chosen else 4}" stroke="none"/>'
        f'<text x="{across + 8:.1f}" y="{up - 6:.1f}" stroke="none">'
        f"{point.guidance:g} · {point.truncation_psi:g}{' chosen' if is_chosen else ''}</text></g>"
    )
