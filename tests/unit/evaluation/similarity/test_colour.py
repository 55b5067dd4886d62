import sys

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from skimage.color import rgb2lab

from personalgen.errors import ConfigError, DataError
from personalgen.evaluation.similarity import COLOUR, lab_quantiles


def _plain(*colours, px=32):
    return np.array([np.full((px, px, 3), colour) for colour in colours], np.uint8)


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_plain_colours_have_their_published_values(colour, lab):
    """White, black and the three primaries of sRGB have their known L*a*b*, in every quantile."""
    found = lab_quantiles(_plain(colour))[0]
    assert found == pytest.approx(np.repeat(np.array(lab)[:, None], 64, axis=1), abs=0.02)


def test_of_plain_pictures_it_is_delta_e():
    """Black to white is 100; red to green is the length between their published values, 170.6."""
    black, white, red, green = (_plain(c) for c in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0)))
    assert COLOUR(black, white)[0] == pytest.approx(100, abs=0.01)
    assert COLOUR(red, green)[0] == pytest.approx(170.6, abs=0.1)


def test_it_equals_scipy_s_earth_mover():
    """The distance is the length of scipy's distances in each column, within what 64 quantiles round off."""
    images, others = (
        np.random.default_rng(k).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8) // (k + 1) for k in (0, 1)
    )
    for found, image, other in zip(COLOUR(images, others), images, others, strict=True):
        columns = zip(rgb2lab(image).reshape(-1, 3).T, rgb2lab(other).reshape(-1, 3).T, strict=True)
        assert found == pytest.approx(np.linalg.norm([wasserstein_distance(a, b) for a, b in columns]), rel=0.01)


def test_shuffled_pixels_keep_colour_and_recolouring_loses_it(pictures, variants):
    """Where pixels are does not matter; blues in place of a picture's colours are further than 2 Delta E away."""
    assert COLOUR(pictures, pictures).max() == 0
    assert COLOUR(pictures, variants["shuffled"]).max() == pytest.approx(0, abs=1e-4)
    assert COLOUR(pictures, variants["recoloured"]).min() > 10
    assert COLOUR(pictures, variants["noise"]).min() > 2


def test_sizes_may_differ():
    """A picture and its enlargement have the same description."""
    small = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    assert lab_quantiles(small.repeat(2, axis=1).repeat(3, axis=2)) == pytest.approx(lab_quantiles(small), abs=1e-3)


def test_descriptions_do_not_depend_on_the_pass(monkeypatch, pictures):
    """Pictures described in passes of 7 are described alike; none have none."""
    from personalgen.evaluation.similarity import colour

    whole = lab_quantiles(pictures)
    monkeypatch.setattr(colour, "_IMAGES", 7)
    assert np.array_equal(lab_quantiles(pictures), whole)
    assert lab_quantiles(pictures[:0]).shape == (0, 3, 64)


def test_a_missing_package_and_other_arrays_are_named(monkeypatch, pictures):
    """Without scikit-image the message says which extra to install; floats are refused."""
    with pytest.raises(DataError, match="uint8"):
        lab_quantiles(pictures / 255)
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    with pytest.raises(ConfigError, match=r"skimage.*personalgen\[demo\]"):
        lab_quantiles(pictures)
