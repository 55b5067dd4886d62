import pytest
import torch
import torch.nn.functional as F

from personalgen.models import resample

UPS = (resample.upsample, resample.upsample_by_interpolation, resample.upsample_by_slices)
DOWNS = (resample.downsample, resample.downsample_by_convolution, resample.downsample_by_slices)
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
KERNEL = torch.outer(TAPS, TAPS)[None, None] / TAPS.sum() ** 2


@pytest.fixture(params=[(4, 4), (6, 2)], ids=str)
def x(request):
    """Two pictures of three channels, in float64 so that the formula can be met to its last digits."""
    rng = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *request.param, generator=rng, dtype=torch.float64)


def channelwise(x, apply):
    """Apply an operator of one channel to each channel by itself."""
    return apply(x.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2])[:, :, 0]


@pytest.mark.parametrize("upsample", UPS)
def test_doubling_is_zeros_between_pixels_and_the_filter(upsample, x):
    """Zeros are put between pixels and beyond the border; the filter then has a sum of four."""
    height, width = x.shape[2:]
    stuffed = x.new_zeros(2, 3, 2 * height, 2 * width)
    stuffed[:, :, ::2, ::2] = x
    wanted = channelwise(F.pad(stuffed, (2, 1, 2, 1)), lambda y: F.conv2d(y, 4 * KERNEL))
    torch.testing.assert_close(upsample(x), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("downsample", DOWNS)
def test_halving_is_the_filter_at_every_second_pixel(downsample, x):
    """Beyond the border there are zeros; the filter has a sum of one."""
    wanted = channelwise(F.pad(x, (1, 1, 1, 1)), lambda y: F.conv2d(y, KERNEL))[:, :, ::2, ::2]
    torch.testing.assert_close(downsample(x), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("upsample", "downsample"), [*zip(UPS, DOWNS, strict=True)])
def test_four_times_halving_is_the_transpose_of_doubling(upsample, downsample, x):
    """<up(x), y> = <x, 4 down(y)>, borders included."""
    y = torch.randn(2, 3, 2 * x.shape[2], 2 * x.shape[3], dtype=torch.float64)
    torch.testing.assert_close((upsample(x) * y).sum(), (x * 4 * downsample(y)).sum())


@pytest.mark.parametrize("apply", [*UPS, *DOWNS])
def test_gradients_pass_twice(apply, x):
    """Penalties differentiate gradients: the second derivative is checked numerically."""
    x.requires_grad_()
    assert torch.autograd.gradcheck(apply, x)
    assert torch.autograd.gradgradcheck(apply, x)


@pytest.mark.parametrize("apply", [*UPS, *DOWNS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_stay_last_and_numbers_what_they_are(apply, dtype):
    """No copy to another layout or type lies between two convolutions."""
    y = apply(torch.randn(2, 8, 4, 4, dtype=dtype).contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert y.dtype == dtype
