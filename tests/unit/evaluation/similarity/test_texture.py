import sys

import numpy as np
import pytest

from personalgen.errors import ConfigError, DataError
from personalgen.evaluation.similarity import TEXTURE, pattern_histograms


def test_plain_surfaces_and_lone_dots_have_the_patterns_of_the_paper():
    """On a plain surface all 8 neighbours are as bright (pattern 8); a lone bright dot has none (pattern 0)."""
    plain = np.full((1, 32, 32, 3), 120, np.uint8)
    assert pattern_histograms(plain)[0] == pytest.approx(np.eye(10)[8])
    dots = plain.copy()
    dots[0, 2::4, 2::4] = 250
    found = pattern_histograms(dots)[0]
    n_dots = len(range(2, 31, 4)) ** 2
    assert found[0] == pytest.approx(n_dots / 30**2)
    assert found.sum() == pytest.approx(1)


def test_recolouring_keeps_texture_and_shuffled_pixels_lose_it(pictures, variants):
    """The same fields in other colours are near, shuffled pixels and noise are five times as far, a copy is at 0."""
    assert TEXTURE(pictures, pictures).max() == 0
    recoloured = TEXTURE(pictures, variants["recoloured"]).mean()
    assert TEXTURE(pictures, variants["shuffled"]).mean() > 2.5 * recoloured
    assert TEXTURE(pictures, variants["noise"]).mean() > 2.5 * recoloured


def test_a_turned_picture_keeps_its_texture(pictures):
    """Patterns are counted up to rotation and place: a quarter turn and a mirror move nothing."""
    assert TEXTURE(pictures, np.rot90(pictures, axes=(1, 2))).max() < 0.01
    assert TEXTURE(pictures, pictures[:, :, ::-1]).max() < 0.01


def test_a_level_of_noise_on_a_plain_surface_is_no_texture():
    """One level up or down on plain surfaces is nearer than half of what noise of the whole range is."""
    rng = np.random.default_rng(0)
    plain = np.tile(np.array([20, 84, 148, 212])[:, None, None, None], (1, 32, 32, 3)).astype(np.uint8)
    faint = (plain + rng.integers(-1, 2, plain.shape)).astype(np.uint8)
    assert TEXTURE(plain, faint).max() < 0.05
    assert TEXTURE(plain, rng.integers(0, 256, plain.shape, dtype=np.uint8)).min() > 0.3


def test_distances_are_chi_square():
    """Half the sum of squared differences over sums: 1 where no pattern is shared, symmetric."""
    p, q = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    expected = [(0.25**2 / 0.75 + 0.25**2 / 1.25) / 2, 1.0]
    assert TEXTURE.compare(p, q) == pytest.approx(expected)
    assert TEXTURE.compare(q, p) == pytest.approx(expected)


def test_what_cannot_be_described_is_refused(monkeypatch, pictures):
    """Pictures below 16 px and a missing package are named."""
    with pytest.raises(DataError, match="at least 16"):
        pattern_histograms(pictures[:, :15])
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(ConfigError, match=r"skimage.*personalgen\[demo\]"):
        pattern_histograms(pictures)
