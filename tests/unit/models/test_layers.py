import pytest
import torch
import torch.nn.functional as F

from personalgen.models.layers import ModulatedBlock, ResidualBlock, conv, doubled, linear, unit_variance


def test_unit_variance_scales_rows_to_a_mean_square_of_one():
    """Direction and sign stay, length goes; a zero row stays zero instead of dividing by it."""
    rows = unit_variance(torch.tensor([[3.0, -4.0], [0.003, -0.004], [0.0, 0.0]]))
    assert rows[0].square().mean() == pytest.approx(1)
    assert rows[0] / rows[0].norm() == pytest.approx([0.6, -0.8])
    assert rows[1].square().mean() == pytest.approx(1, rel=1e-2)
    assert rows[2].tolist() == [0, 0]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_doubling_is_bilinear(memory_format):
    """Values and gradient are those of F.interpolate, for edges of any length, and the result is channels last."""
    for height, width in ((4, 4), (5, 3), (1, 2)):
        x = torch.randn(2, 3, height, width).contiguous(memory_format=memory_format).requires_grad_()
        pull = torch.randn(2, 3, 2 * height, 2 * width)
        expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        found = doubled(x)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(*(torch.autograd.grad(y, x, pull)[0] for y in (found, expected)))
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_linear_keeps_the_variance_of_its_input():
    """The variance of 64,000 outputs is 1 within 10 %; the bias starts where it was asked to."""
    layer = linear(256, 64, bias=0.5)
    assert layer.bias.tolist() == [0.5] * 64
    assert float((layer(torch.randn(1000, 256)) - 0.5).var().detach()) == pytest.approx(1, rel=0.1)


def test_conv_keeps_the_size_and_the_variance_behind_a_leaky_relu():
    """He's initialisation for slope 0.2: a rectified normal comes out with a second moment of 1."""
    x = torch.nn.functional.leaky_relu(torch.randn(16, 64, 12, 12), 0.2)
    y = conv(64, 64, 3)(x)
    assert y.shape == x.shape
    assert float(y[:, :, 1:-1, 1:-1].detach().square().mean()) == pytest.approx(1, rel=0.1)


def test_a_convolution_of_gain_zero_starts_at_zero():
    """Its output is zero whatever comes in."""
    assert not conv(3, 4, 3, gain=0.0)(torch.randn(2, 3, 5, 5)).any()
    assert conv(3, 4, 1, bias=False).bias is None


def test_a_residual_block_starts_as_the_identity():
    """The discriminator begins as a net without residuals, and its first convolution still learns from there."""
    block, x = ResidualBlock(4), torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.last.weight.grad.abs().sum() > 0


def test_a_modulated_block_listens_to_its_style():
    """Two styles give two outputs of one input, each row its own."""
    block, x = ModulatedBlock(4, 3), torch.randn(1, 4, 6, 6).expand(2, 4, 6, 6)
    y = block(x, torch.randn(2, 3))
    assert y.shape == x.shape
    assert (y[0] - y[1]).abs().max() > 1e-3
    torch.testing.assert_close(*block(x, torch.ones(2, 3)))


def test_a_block_without_style_does_not_listen():
    """Where the condition is only concatenated, two styles give one output."""
    block, x = ModulatedBlock(4, 0), torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x, torch.randn(2, 3)), block(x, torch.randn(2, 3)))
