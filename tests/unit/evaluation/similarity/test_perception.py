import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation import content_and_style
from personalgen.evaluation.similarity import CONTENT, STYLE


def test_style_forgets_places_and_content_does_not(pictures):
    """Turned by half a turn, pictures keep style sooner than content: each beside the distance to others."""
    sets = [content_and_style(images) for images in (pictures, pictures[:, ::-1, ::-1], np.roll(pictures, 1, axis=0))]
    style, content = (
        [measure(getattr(sets[0], name), getattr(other, name)).mean() for other in sets[1:]]
        for name, measure in (("style", STYLE), ("content", CONTENT))
    )
    assert style[0] / style[1] < 0.5
    assert style[0] / style[1] < content[0] / content[1]


def test_equal_pictures_are_at_zero_and_noise_is_further_than_others(pictures, variants):
    """Both distances are 0 to a copy, and to noise further than to another picture."""
    own, others, noise = (content_and_style(images) for images in (pictures, variants["others"], variants["noise"]))
    assert CONTENT(own.content, own.content).max() == 0
    assert STYLE(own.style, own.style).max() == 0
    assert CONTENT(own.content, noise.content).mean() > CONTENT(own.content, others.content).mean()
    assert STYLE(own.style, noise.style).mean() > STYLE(own.style, others.style).mean()


def test_pictures_themselves_are_refused(pictures):
    """Pixels in place of features are named."""
    with pytest.raises(DataError, match="content_and_style"):
        CONTENT(pictures, pictures)
