import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from personalgen.evaluation import (
    Comparison,
    Figure,
    Interval,
    ReportPicture,
    comparison_figures,
    evaluation_figures,
    measure,
    write_report,
)
from personalgen.evaluation.report import plot_svg, show

VOID = {"meta", "img", "line", "circle"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def figures():
    """A figure with intervals on both sides, one with plain numbers, one missing."""
    return (
        Figure("KID", Interval(1.25, 1.0, 1.5), Interval(0.01, -0.1, 0.12), "real against real", "Lower is better."),
        Figure("Fréchet", 2573.44, 525.0, "real against real"),
        Figure("NPG", None, 0.0, "not personal", "the judge sees no taste"),
    )


def _write(tmp_path, figures, **extra):
    path = write_report(tmp_path / "report.html", title="Night", figures=figures, **extra)
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_stands_alone(tmp_path, figures):
    """Every tag is closed, and nothing is loaded: no script, link, URL or event handler."""
    picture = ReportPicture("Sheet", np.zeros((4, 6, 3), np.uint8), "History beside generated")
    text = _write(tmp_path, figures, pictures=[picture], counts={"users": 1234}, subtitle="against v3")
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data")]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text


def test_pictures_are_inside(tmp_path, figures):
    """The inline picture decodes to the pixels that were given."""
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    page = Page(_write(tmp_path, figures, pictures=[ReportPicture("Sheet", image, "x")]))
    source = next(value for name, value in page.attributes if name == "src")
    decoded = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert np.array_equal(np.asarray(decoded), image)


def test_every_figure_stands_with_interval_and_control(tmp_path, figures):
    """The table shows value, interval, control and the control's name, and says what is missing and why."""
    text = _write(tmp_path, figures)
    for part in (
        "1.25",
        "1 to 1.5",
        "0.01",
        "−0.1 to 0.12",
        "real against real",
        "2,573.4",
        "525",
        "missing",
        "the judge sees no taste",
    ):
        assert part in text


def test_all_text_is_escaped(tmp_path):
    """Markup in any text that comes from data is shown, never obeyed."""
    evil = "<script>alert('x')</script>\"'&"
    text = _write(
        tmp_path,
        [Figure(evil, 1.0, 2.0, evil, evil)],
        pictures=[ReportPicture(evil, np.zeros((2, 2, 3), np.uint8), evil)],
        counts={evil: evil},
        subtitle=evil,
        simulated=evil,
    )
    page = Page(text)
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "".join(page.texts).count(evil) >= 7


def test_simulated_data_is_announced_first(tmp_path, figures):
    """The banner stands above the title when told so, and is absent otherwise."""
    text = _write(tmp_path, figures, simulated="Users and tastes are made up.")
    assert text.index("Simulated data.") < text.index("<h1>")
    assert "Users and tastes are made up." in text
    assert "Simulated data." not in _write(tmp_path, figures)


def test_equal_inputs_give_equal_pages(tmp_path, figures):
    """The page holds no clock and no random part."""
    assert _write(tmp_path, figures) == _write(tmp_path, figures)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "missing"),
        (0, "0"),
        (1234567, "1,234,567"),
        (-0.12345, "−0.1235"),
        (1e-7, "1.00e−07"),
        (2573.44, "2,573.4"),
        (Interval(0.5, 0, 1), "0.5"),
    ],
)
def test_numbers_are_readable(number, text):
    """Four significant digits, thousands apart, a true minus sign."""
    assert show(number) == text


def test_plot_puts_value_and_control_on_one_axis(figures):
    """Dots and lines stay inside the drawing, in order, and screen readers hear the numbers."""
    page = Page(plot_svg(figures[0]))
    xs = [float(value) for name, value in page.attributes if name == "cx"]
    assert 0 < xs[1] < xs[0] < 200
    assert ("aria-label", "KID: 1.25, real against real: 0.01") in page.attributes
    assert plot_svg(figures[2]) == ""
    assert plot_svg(Figure("equal", 1.0, 1.0)) == ""


def test_figures_of_an_evaluation_carry_their_controls(world, options):
    """Each figure of an evaluation has a value, a named control and a sentence on how to read it."""
    measured = measure(world.pictures(world.tastes), world.yardstick, options=options)
    figures = evaluation_figures(measured)
    assert figures[0].value == measured.preference.npg
    missing = [figure for figure in figures if figure.value is None]
    assert [figure.name for figure in missing] == ["Normalised preference gain, judge B"]
    assert "pixels" in missing[0].reading
    told = [figure for figure in figures if figure.value is not None]
    assert all(figure.control is not None and figure.control_name and figure.reading for figure in told)


def test_figures_of_a_comparison_say_which_way_is_better():
    """Differences stand beside zero, with the direction in words."""
    told = Interval(0.1, 0.05, 0.15), Interval(-0.2, -0.3, -0.1)
    fit, fidelity = comparison_figures(Comparison(*told, None, None, None, n_users=64, n_real=300))
    assert fit.value == Interval(0.1, 0.05, 0.15)
    assert fidelity.value == Interval(-0.2, -0.3, -0.1)
    assert "Above zero is better" in fit.reading
    assert "Below zero is better" in fidelity.reading
