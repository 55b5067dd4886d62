import math

import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec
from personalgen.training.contrast import PreferenceContrast
from personalgen.training.losses import contrastive_loss

COLOURS = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1]])


@pytest.fixture
def net():
    """Return a fresh contrast for four numbers."""
    return PreferenceContrast(ConditionSpec.vector("taste", 4), 16)


def colours(count):
    """Return noisy pictures of one of four colours, the taste for each, and which colour it is."""
    person = torch.arange(count) % 4
    images = 0.7 * COLOURS[person][:, :, None, None] + 0.3 * torch.randn(count, 3, 8, 8)
    return images, Condition.vector("taste", torch.eye(4)[person]), person


def test_pictures_and_people_meet_in_one_space(net):
    """A vector of 64 numbers for each picture, of any size, and for each condition."""
    assert net(torch.randn(5, 3, 8, 8)).shape == net(torch.randn(5, 3, 32, 32)).shape == (5, 64)
    assert net.condition_vectors(Condition.vector("taste", torch.randn(5, 4))).shape == (5, 64)


def test_it_learns_whose_picture_it_is(net):
    """On four people with a colour each it starts at chance, and after 60 steps knows all of fresh pictures."""
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)

    def loss(images, condition, person):
        return contrastive_loss(net(images), net.condition_vectors(condition), person, net.temperature)

    first = None
    for _ in range(60):
        found = loss(*colours(16))
        first = first or float(found.detach())
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    with torch.no_grad():
        images, condition, person = colours(64)
        scores = torch.nn.functional.cosine_similarity(
            net(images)[:, None], net.condition_vectors(condition.take([0, 1, 2, 3]))[None], dim=-1
        )
        assert (scores.argmax(1) == person).all()
        # The four right answers of sixteen rows share the probability: log 4 is the least there is.
        assert loss(*colours(16)) < math.log(4) + 0.3 * (first - math.log(4))


def test_pictures_get_a_gradient(net):
    """Which is how a generator is taught."""
    images, condition, person = colours(8)
    images.requires_grad_()
    contrastive_loss(net(images), net.condition_vectors(condition), person, net.temperature).backward()
    assert images.grad.flatten(1).any(1).all()
