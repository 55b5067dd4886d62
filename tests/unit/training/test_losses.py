import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl_divergence

from personalgen.training.losses import (
    ADVERSARIES,
    contrastive_loss,
    judge,
    judge_features,
    kl_divergence,
    mismatch_loss,
    nonsaturating_d_loss,
    nonsaturating_g_loss,
    relativistic_d_loss,
    relativistic_g_loss,
    squared_norms,
)


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


def test_nonsaturating_losses_are_cross_entropies():
    """Each logit is judged by itself: the discriminator's two parts and the generator's are binary cross-entropies."""
    real, fake = torch.randn(5), torch.randn(5)
    entropy, ones = nn.functional.binary_cross_entropy_with_logits, torch.ones(5)
    torch.testing.assert_close(nonsaturating_d_loss(real, fake), entropy(real, ones) + entropy(fake, 0 * ones))
    torch.testing.assert_close(nonsaturating_g_loss(real, fake), entropy(fake, ones))


@pytest.mark.parametrize("name", ADVERSARIES)
def test_the_pull_is_the_derivative_of_the_generators_loss(name):
    """Row by row, less the derivative of the summed loss by the logit of the made image; never negative."""
    real, fake = torch.randn(7), torch.randn(7, requires_grad=True)
    adversary = ADVERSARIES[name]
    (slope,) = torch.autograd.grad(7 * adversary.g_loss(real, fake), fake)
    torch.testing.assert_close(adversary.pull(real, fake.detach()), -slope)
    assert (slope < 0).all()


def test_mismatch_asks_for_a_higher_logit_of_the_own_user():
    """Softplus of other less own, averaged."""
    own, other = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0])
    by_hand = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log(torch.tensor(2.0))) / 2
    torch.testing.assert_close(mismatch_loss(own, other), by_hand)


def test_r1_of_a_quadratic_is_its_analytic_value():
    """D(x) = sum of a x^2 has the gradient 2 a x and so a penalty of 4 sum of a^2 x^2."""
    x, a = torch.randn(4, 3, 5, 5), torch.rand(3, 5, 5)
    judged = judge(plain(lambda images: (a * images.square()).sum((1, 2, 3))), x)
    torch.testing.assert_close(judged.gradient(), 2 * a * x)
    torch.testing.assert_close(squared_norms(judged.gradient()), 4 * (a * x).square().sum((1, 2, 3)))
    torch.testing.assert_close(judged.logits, (a * x.square()).sum((1, 2, 3)))


def test_r1_of_a_plane_is_the_same_everywhere():
    """A linear discriminator is penalised by the square of its slope, whatever the picture."""
    slope = torch.randn(3, 4, 4)
    judged = judge(plain(lambda images: (slope * images).sum((1, 2, 3))), torch.randn(6, 3, 4, 4))
    torch.testing.assert_close(squared_norms(judged.gradient()), slope.square().sum().expand(6))


def test_the_gradient_is_autograds(net):
    """The same gradient that autograd gives for the sum of logits."""
    x = torch.randn(4, 3, 4, 4, requires_grad=True)
    (expected,) = torch.autograd.grad(net(x).sum(), x)
    judged = judge(plain(net), x.detach())
    torch.testing.assert_close(judged.gradient(), expected)
    torch.testing.assert_close(squared_norms(judged.gradient()), expected.square().sum((1, 2, 3)))


def test_the_pull_takes_weights():
    """The gradient of a weighted sum of logits, also where rows see each other through batch normalisation."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Tanh(), nn.Flatten())
    x, weights = torch.randn(4, 3, 4, 4, requires_grad=True), torch.rand(4)
    (expected,) = torch.autograd.grad((weights * net(x).sum(1)).sum(), x)
    judged = judge(plain(lambda images: net(images).sum(1)), x.detach())
    torch.testing.assert_close(judged.pull(weights), expected)
    row_by_row = weights[:, None, None, None] * judged.gradient()
    assert (row_by_row - expected).norm() > 0.1 * expected.norm()


def test_the_penalty_reaches_the_weights(net):
    """Its gradient is that of autograd's double backward."""
    x = torch.randn(4, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    learned = [weight for name, weight in net.named_parameters() if not name.endswith("3.bias")]  # not in the slope
    expected = torch.autograd.grad(gradient.square().sum((1, 2, 3)).mean(), learned)
    found = torch.autograd.grad(squared_norms(judge(plain(net), x.detach()).gradient()).mean(), learned)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_penalty_of_a_quadratic_has_its_analytic_slope():
    """For D(x) = w sum of x^2 the penalty is 4 w^2 |x|^2, and its derivative by w is 8 w |x|^2."""
    w, x = torch.tensor(0.7, requires_grad=True), torch.randn(3, 3, 2, 2)
    judged = judge(plain(lambda images: w * images.square().sum((1, 2, 3))), x)
    (slope,) = torch.autograd.grad(squared_norms(judged.gradient()).sum(), w)
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
    assert judged.gradient().dtype == torch.bfloat16
    assert squared_norms(judged.gradient()).dtype == torch.float32


def test_the_penalty_on_maps_counts_in_pixels():
    """A map of k times the image's numbers counts k times: D = sum of all maps has gradient 1 and n^2 / dims a map."""
    maps = (torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2))

    def discriminate(*mixed):
        return torch.stack([x.sum((1, 2, 3)) for x in mixed]), mixed[1].mean((2, 3))

    logits, pooled, penalty = judge_features(discriminate, maps, pixel_dims=24)
    assert logits.shape == (2, 2)
    torch.testing.assert_close(pooled, maps[1].mean((2, 3)))
    torch.testing.assert_close(logits[1], maps[1].sum((1, 2, 3)))
    torch.testing.assert_close(penalty, torch.full((2,), (48 * 48 + 20 * 20) / 24))


def test_the_contrast_of_people_is_a_softmax_over_the_batch():
    """By hand for three people: cosines over the temperature, and less the logarithm of the right one's share."""
    images, conditions = torch.randn(3, 4), torch.randn(3, 4)
    cosines = nn.functional.cosine_similarity(images[:, None], conditions[None], dim=-1)
    shares = (cosines * math.exp(1.5)).softmax(1)
    found = contrastive_loss(images, conditions, torch.tensor([4, 9, 2]), torch.tensor(1.5))
    torch.testing.assert_close(found, -shares.diagonal().log().mean())


def test_all_rows_of_one_person_are_right_answers():
    """Two rows each of two people whose images point at their conditions: half of the share each, so log 2 is least."""
    vectors, person = torch.eye(2).repeat_interleave(2, 0), torch.tensor([7, 7, 3, 3])
    sharp = torch.tensor(5.0)
    right = contrastive_loss(vectors, vectors, person, sharp)
    assert float(right) == pytest.approx(math.log(2), abs=1e-4)
    assert contrastive_loss(vectors, vectors.flip(0), person, sharp) > 100 * right
    assert contrastive_loss(5 * vectors, vectors, person, sharp) == pytest.approx(float(right))


def test_the_divergence_is_that_of_gaussians():
    """Summed over latents and averaged over rows, as torch.distributions has it; zero at the prior."""
    mean, log_variance = torch.randn(4, 3), torch.randn(4, 3)
    expected = torch_kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
    assert kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0
