import pytest
import torch
from torch import nn

from personalgen.training.losses import judge, judge_features, mismatch_loss, relativistic_d_loss, relativistic_g_loss


def plain(discriminate):
    """Return a discriminator of the form that `judge` takes, without features."""
    return lambda x: (discriminate(x), torch.zeros(len(x), 1))


@pytest.fixture
def net():
    """Return a smooth net from 4 px pictures to one logit."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))


def test_the_two_players_want_the_opposite():
    """At equal logits both lose log 2; what is better for one is worse for the other."""
    real, fake = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])
    assert relativistic_d_loss(real, fake) == relativistic_g_loss(real, fake) == pytest.approx(torch.tensor(2.0).log())
    assert relativistic_d_loss(real + 1, fake) < relativistic_d_loss(real, fake)
    assert relativistic_g_loss(real + 1, fake) > relativistic_g_loss(real, fake)
    assert relativistic_g_loss(real, fake) == relativistic_d_loss(fake, real)


def test_only_differences_of_logits_count():
    """Shifting all logits changes nothing: the loss is relativistic, and paired row by row."""
    real, fake = torch.randn(5), torch.randn(5)
    torch.testing.assert_close(relativistic_d_loss(real + 7, fake + 7), relativistic_d_loss(real, fake))
    by_hand = torch.log1p(torch.exp(-(real - fake))).mean()
    torch.testing.assert_close(relativistic_d_loss(real, fake), by_hand)


def test_mismatch_asks_for_a_higher_logit_of_the_own_user():
    """Softplus of other less own, averaged."""
    own, other = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0])
    by_hand = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log(torch.tensor(2.0))) / 2
    torch.testing.assert_close(mismatch_loss(own, other), by_hand)


def test_r1_of_a_quadratic_is_its_analytic_value():
    """D(x) = sum of a x^2 has the gradient 2 a x and so a penalty of 4 sum of a^2 x^2."""
    x, a = torch.randn(4, 3, 5, 5), torch.rand(3, 5, 5)
    judged = judge(plain(lambda images: (a * images.square()).sum((1, 2, 3))), x)
    torch.testing.assert_close(judged.gradient, 2 * a * x)
    torch.testing.assert_close(judged.penalty, 4 * (a * x).square().sum((1, 2, 3)))
    torch.testing.assert_close(judged.logits, (a * x.square()).sum((1, 2, 3)))


def test_r1_of_a_plane_is_the_same_everywhere():
    """A linear discriminator is penalised by the square of its slope, whatever the picture."""
    slope = torch.randn(3, 4, 4)
    judged = judge(plain(lambda images: (slope * images).sum((1, 2, 3))), torch.randn(6, 3, 4, 4))
    torch.testing.assert_close(judged.penalty, slope.square().sum().expand(6))


def test_the_gradient_is_autograds(net):
    """The same gradient that autograd gives for the sum of logits."""
    x = torch.randn(4, 3, 4, 4, requires_grad=True)
    (expected,) = torch.autograd.grad(net(x).sum(), x)
    judged = judge(plain(net), x.detach())
    torch.testing.assert_close(judged.gradient, expected)
    torch.testing.assert_close(judged.penalty, expected.square().sum((1, 2, 3)))


def test_the_penalty_reaches_the_weights(net):
    """Its gradient is that of autograd's double backward."""
    x = torch.randn(4, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    learned = [weight for name, weight in net.named_parameters() if not name.endswith("3.bias")]  # not in the slope
    expected = torch.autograd.grad(gradient.square().sum((1, 2, 3)).mean(), learned)
    found = torch.autograd.grad(judge(plain(net), x.detach()).penalty.mean(), learned)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_penalty_of_a_quadratic_has_its_analytic_slope():
    """For D(x) = w sum of x^2 the penalty is 4 w^2 |x|^2, and its derivative by w is 8 w |x|^2."""
    w, x = torch.tensor(0.7, requires_grad=True), torch.randn(3, 3, 2, 2)
    penalty = judge(plain(lambda images: w * images.square().sum((1, 2, 3))), x).penalty.sum()
    (slope,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(slope, 8 * w.detach() * x.square().sum())


def test_features_come_along():
    """What the logits were read from is returned, and leads back to the weights."""
    net = nn.Linear(12, 7)

    def discriminate(images):
        features = net(images.flatten(1))
        return features.sum(1), features

    x = torch.randn(2, 3, 2, 2)
    judged = judge(discriminate, x)
    torch.testing.assert_close(judged.features, net(x.flatten(1)))
    judged.features.sum().backward()
    assert net.weight.grad.any()


def test_pictures_of_half_precision_have_a_penalty_of_full_precision():
    """Squares are summed in float32."""
    judged = judge(plain(lambda x: x.square().sum((1, 2, 3))), torch.randn(2, 3, 2, 2, dtype=torch.bfloat16))
    assert judged.penalty.dtype == torch.float32


def test_the_penalty_on_maps_counts_in_pixels():
    """A map of k times the image's numbers counts k times: D = sum of all maps has gradient 1 and n^2 / dims a map."""
    maps = (torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2))

    def discriminate(*mixed):
        return torch.stack([x.sum((1, 2, 3)) for x in mixed])

    logits, penalty = judge_features(discriminate, maps, pixel_dims=24)
    assert logits.shape == (2, 2)
    torch.testing.assert_close(logits[1], maps[1].sum((1, 2, 3)))
    torch.testing.assert_close(penalty, torch.full((2,), (48 * 48 + 20 * 20) / 24))
