import numpy as np
import pytest
import torch

from personalgen.errors import DataError
from personalgen.evaluation.similarity import MS_SSIM, SSIM, ms_ssim_weights
from personalgen.evaluation.similarity.structure import ms_ssim_sigma, window_px


def _pair(px, height=None, n=6):
    """Pictures and copies with more and more noise."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (n, -(-(height or px) // 4), px // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    images = blocks[:, : height or px].astype(np.uint8)
    spoilt = images + rng.normal(scale=np.linspace(0, 100, n)[:, None, None, None], size=images.shape)
    return images, np.clip(np.round(spoilt), 0, 255).astype(np.uint8)


def _tensors(*sets):
    return [torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255 for images in sets]


@pytest.mark.parametrize(("px", "height"), [(16, 16), (32, 32), (64, 64), (64, 32)])
def test_ssim_equals_torchmetrics(px, height):
    """For pictures of each size, square or not, the values are those of another library."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    images, spoilt = _pair(px, height)
    theirs = structural_similarity_index_measure(*_tensors(images, spoilt), data_range=1.0, reduction="none")
    assert SSIM(images, spoilt) == pytest.approx(theirs.numpy(), abs=1e-4)


@pytest.mark.parametrize("px", [16, 32, 64, 176])
def test_ms_ssim_equals_torchmetrics(px):
    """With the same window, scales and weights the values are those of another library; at 176 px its defaults."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    images, spoilt = _pair(px, n=3 if px == 176 else 6)
    settings = {"sigma": ms_ssim_sigma(px), "kernel_size": window_px(ms_ssim_sigma(px)), "betas": ms_ssim_weights(px)}
    if px == 176:
        settings = {}
    theirs = multiscale_structural_similarity_index_measure(
        *_tensors(images, spoilt), data_range=1.0, normalize="relu", reduction="none", **settings
    )
    assert MS_SSIM(images, spoilt) == pytest.approx(theirs.numpy(), abs=2e-3 if px == 176 else 2e-4)


@pytest.mark.parametrize(("px", "scales"), [(16, 2), (31, 3), (32, 3), (64, 4), (112, 5), (175, 5), (176, 5), (512, 5)])
def test_scales_follow_the_size(px, scales):
    """Each size has as many scales as still hold a window, with weights that sum to one."""
    weights = ms_ssim_weights(px)
    assert len(weights) == scales
    assert sum(weights) == pytest.approx(1)
    assert px >> (scales - 1) >= window_px(ms_ssim_sigma(px))


@pytest.mark.parametrize("measure", [SSIM, MS_SSIM], ids=lambda m: m.name)
def test_equal_pictures_are_one_and_others_less(measure, pictures, variants):
    """A picture is at 1 to itself; shuffled pixels and noise are far below, whatever their colours."""
    assert measure(pictures, pictures) == pytest.approx(1, abs=1e-4)
    for spoilt in ("shuffled", "noise"):
        assert measure(pictures, variants[spoilt]).max() < 0.5
    assert measure(pictures, variants["others"]).mean() < 0.5


@pytest.mark.parametrize("measure", [SSIM, MS_SSIM], ids=lambda m: m.name)
def test_a_little_noise_costs_little(measure, pictures):
    """Noise of more and more strength lowers the value step by step, and the order of two pictures does not matter."""
    noise = np.random.default_rng(0).normal(size=pictures.shape)
    steps = [np.clip(pictures + s * noise, 0, 255).astype(np.uint8) for s in (0, 5, 20, 60)]
    values = [measure(pictures, spoilt).mean() for spoilt in steps]
    assert values == sorted(values, reverse=True)
    assert measure(steps[2], pictures) == pytest.approx(measure(pictures, steps[2]), abs=1e-5)


def test_pictures_that_are_too_small_are_refused():
    """Pictures of 15 px, floats, and sets of two sizes are named."""
    small = np.zeros((2, 15, 32, 3), np.uint8)
    with pytest.raises(DataError, match="at least 16 x 16 px, found 15 x 32"):
        MS_SSIM(small, small)
    with pytest.raises(DataError, match="uint8"):
        SSIM(small.astype(float), small.astype(float))
    with pytest.raises(DataError, match="row for row"):
        SSIM(np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 64, 64, 3), np.uint8))
