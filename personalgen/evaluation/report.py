"""The report of a run: one HTML file that needs nothing else, no script, no network, and escapes all text."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from personalgen.artifacts import write_bytes
from personalgen.evaluation.figures import Figure, Number
from personalgen.evaluation.interval import Interval
from personalgen.evaluation.sheet import ImageArray, png_bytes

_PLOT_WIDTH, _PLOT_HEIGHT, _PLOT_EDGE = 200, 34, 10

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--wash:#f5f7fa;--ink:#1a1d21;--quiet:#5d6672;--rule:#dfe4ea;--mark:#0b6bcb;
--control:#9aa4b0;--warn-paper:#fff4d6;--warn-ink:#6b4a00}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--wash:#1d2126;--ink:#e8eaed;--quiet:#a3acb7;--rule:#333a42;
--mark:#66b2ff;--control:#76808c;--warn-paper:#3d3112;--warn-ink:#ffe2a0}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:64rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.5rem 0 .75rem}
p{margin:.25rem 0}.quiet,td.reading,figcaption{color:var(--quiet)}
.banner{background:var(--warn-paper);color:var(--warn-ink);border-radius:.5rem;padding:.75rem 1rem;margin:0 0 1.5rem}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.75rem;margin:1.5rem 0}
dl div{background:var(--wash);border-radius:.5rem;padding:.75rem 1rem}
dt{color:var(--quiet);font-size:.85rem}dd{margin:0;font-size:1.2rem;font-weight:600;overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse}caption{text-align:left;color:var(--quiet);padding-bottom:.5rem}
th,td{text-align:left;vertical-align:top;padding:.65rem .75rem .65rem 0;border-bottom:1px solid var(--rule)}
thead th{font-size:.85rem;color:var(--quiet);font-weight:500}tbody th{font-weight:600}
td{font-variant-numeric:tabular-nums}td.reading{font-size:.9rem;min-width:12rem}
td small{display:block;color:var(--quiet)}
figure{margin:1rem 0}figure div{overflow-x:auto;border:1px solid var(--rule);border-radius:.5rem;background:#fff}
img{display:block;max-width:100%;height:auto;image-rendering:pixelated}figcaption{padding-top:.4rem;font-size:.9rem}
svg{display:block;max-width:100%;height:auto}.axis{stroke:var(--rule)}.of-value{stroke:var(--mark);fill:var(--mark)}
.of-control{stroke:var(--control);fill:var(--control)}
@media (max-width:46rem){thead{display:none}tr{display:block;padding:.75rem 0;border-bottom:1px solid var(--rule)}
th,td{display:block;border:0;padding:.15rem 0}td[data-label]::before{content:attr(data-label) ": ";color:var(--quiet)}}
"""


@dataclass(frozen=True)
class ReportPicture:
    """A picture under its own heading."""

    heading: str
    """Heading above it."""

    picture: Image.Image | ImageArray
    """PIL image, or (height, width, 3) uint8."""

    caption: str
    """Sentence below it; also what a screen reader says."""


@dataclass(frozen=True)
class ReportPlot:
    """A drawing under its own heading."""

    heading: str
    """Heading above it."""

    svg: str
    """Inline SVG that needs nothing else; not escaped, so never made of anybody's text."""

    caption: str
    """Sentence below it."""


def write_report(
    path: Path,
    *,
    title: str,
    figures: Sequence[Figure],
    plots: Sequence[ReportPlot] = (),
    pictures: Sequence[ReportPicture] = (),
    counts: Mapping[str, object] | None = None,
    card: Mapping[str, object] | None = None,
    subtitle: str = "",
    simulated: str = "",
) -> Path:
    """Write the report atomically and return its path.

    `simulated` is shown as a banner above everything: say there what is made up. `counts` are small facts, in order,
    and `card` those of the model.
    """
    page = report_html(
        title=title,
        figures=figures,
        plots=plots,
        pictures=pictures,
        counts=counts or {},
        card=card or {},
        subtitle=subtitle,
        simulated=simulated,
    )
    return write_bytes(path, page.encode())


def report_html(
    *,
    title: str,
    figures: Sequence[Figure],
    plots: Sequence[ReportPlot],
    pictures: Sequence[ReportPicture],
    counts: Mapping[str, object],
    card: Mapping[str, object],
    subtitle: str,
    simulated: str,
) -> str:
    """Return the page as text; equal inputs give equal text."""
    parts = [
        f'<p class="banner" role="note"><strong>Simulated data.</strong> {escape(simulated)}</p>' if simulated else "",
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(subtitle)}</p>' if subtitle else "",
        _counts(counts),
        _table(figures),
        *(_plot(plot) for plot in plots),
        *(_picture(picture) for picture in pictures),
        f"<h2>Model card</h2>\n{_counts(card)}" if card else "",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def show(number: Number | None) -> str:
    """Return a number as the report prints it: four significant digits, thousands apart, a true minus sign."""
    if number is None:
        return "missing"
    value = number.value if isinstance(number, Interval) else float(number)
    text = f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else _significant(value)
    return text.replace("-", "−")


def _significant(value: float) -> str:
    """Return four significant digits without an exponent where that stays readable."""
    if value and abs(value) < 1e-5:
        return f"{value:.2e}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def _show_interval(number: Number | None) -> str:
    if not isinstance(number, Interval):
        return ""
    return f"<small>{escape(_significant_pair(number))}</small>"


def _significant_pair(interval: Interval) -> str:
    return f"{_significant(interval.low)} to {_significant(interval.high)}".replace("-", "−")


def _counts(counts: Mapping[str, object]) -> str:
    if not counts:
        return ""
    cells = [f"<div><dt>{escape(name)}</dt><dd>{escape(_count(value))}</dd></div>" for name, value in counts.items()]
    return f"<dl>{''.join(cells)}</dl>"


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _table(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Figure", "Value", "Control", "Side by side", "Reading"))
    return (
        "<h2>Figures</h2>\n<table>\n<caption>Small figures below a value are its interval. "
        "No value means much without its control.</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(_row(figure) for figure in figures)
        + "\n</tbody>\n</table>"
    )


def _row(figure: Figure) -> str:
    control = ""
    if figure.control is not None:
        control = f"{show(figure.control)}{_show_interval(figure.control)}<small>{escape(figure.control_name)}</small>"
    return (
        f'<tr><th scope="row">{escape(figure.name)}</th>'
        f'<td data-label="Value">{show(figure.value)}{_show_interval(figure.value)}</td>'
        f'<td data-label="Control">{control}</td><td>{plot_svg(figure)}</td>'
        f'<td class="reading">{escape(figure.reading)}</td></tr>'
    )


def plot_svg(figure: Figure) -> str:
    """Return the value above its control on one axis as inline SVG; empty where one of them is missing."""
    if figure.value is None or figure.control is None:
        return ""
    ends = [*_ends(figure.value), *_ends(figure.control)]
    low, high = min(ends), max(ends)
    if high <= low:
        return ""
    marks = _mark(figure.value, 10, "of-value", low, high) + _mark(figure.control, 24, "of-control", low, high)
    label = escape(f"{figure.name}: {show(figure.value)}, {figure.control_name}: {show(figure.control)}")
    return (
        f'<svg role="img" aria-label="{label}" width="{_PLOT_WIDTH}" height="{_PLOT_HEIGHT}" '
        f'viewBox="0 0 {_PLOT_WIDTH} {_PLOT_HEIGHT}"><line class="axis" x1="0" x2="{_PLOT_WIDTH}" y1="17" y2="17"/>'
        f"{marks}</svg>"
    )


def _ends(number: Number) -> tuple[float, float]:
    return (number.low, number.high) if isinstance(number, Interval) else (float(number), float(number))


def _mark(number: Number, y: int, css_class: str, low: float, high: float) -> str:
    """Return a dot at the value and a line over its interval."""
    value = number.value if isinstance(number, Interval) else float(number)
    start, middle, end = (
        _PLOT_EDGE + (_PLOT_WIDTH - 2 * _PLOT_EDGE) * (x - low) / (high - low)
        for x in (_ends(number)[0], value, _ends(number)[1])
    )
    line = f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke-width="2"/>' if end > start else ""
    return f'<g class="{css_class}">{line}<circle cx="{middle:.1f}" cy="{y}" r="4" stroke="none"/></g>'


def _plot(plot: ReportPlot) -> str:
    return (
        f"<h2>{escape(plot.heading)}</h2>\n<figure>{plot.svg}<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _picture(picture: ReportPicture) -> str:
    data = base64.b64encode(png_bytes(picture.picture)).decode()
    caption = escape(picture.caption)
    return (
        f"<h2>{escape(picture.heading)}</h2>\n<figure><div>"
        f'<img alt="{caption}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
