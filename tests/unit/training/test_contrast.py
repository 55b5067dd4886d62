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


def test_who_is_not_known_is_neither_asked_about_nor_an_answer(net):
    """The loss of a batch with absent rows is that of the others alone, and absent rows' pictures get no gradient."""
    images, condition, person = colours(12)
    absent = torch.arange(12) % 3 == 0
    masked = condition.drop(absent)
    assert torch.equal(net.is_known(masked), ~absent)
    images.requires_grad_()
    numbered = torch.where(net.is_known(masked), person, -1)
    loss = contrastive_loss(net(images), net.condition_vectors(masked), numbered, net.temperature)
    loss.backward()
    others = net(images[~absent]), net.condition_vectors(condition.take(~absent)), person[~absent], net.temperature
    torch.testing.assert_close(loss, contrastive_loss(*others))
    assert torch.equal(images.grad.flatten(1).any(1), ~absent)


def test_means_of_two_halves_average_to_that_of_all(net):
    """As gradients of two processes do, also where one has more people that are known."""
    images, condition, person = colours(12)
    whose = torch.where(torch.arange(12) < 5, person, -1)
    vectors = net.condition_vectors(condition)
    whole = contrastive_loss(net(images), vectors, whose, net.temperature)
    parts = [slice(0, 6), slice(6, 12)]
    halves = [contrastive_loss(net(images[p]), vectors, whose[p], net.temperature, whose=whose) for p in parts]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_nobody_known_is_no_loss(net):
    """And no gradient that is not a number."""
    images, condition, _ = colours(4)
    images.requires_grad_()
    loss = contrastive_loss(net(images), net.condition_vectors(condition), torch.full((4,), -1), net.temperature)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not images.grad.any()


def test_only_fields_of_the_person_are_heard():
    """Labels of a picture say nothing of whose it is."""
    both = Condition({"taste": torch.eye(4), "labels": torch.eye(4)})
    net = PreferenceContrast(ConditionSpec.vector("taste", 4), 16)
    other = Condition({"taste": torch.eye(4), "labels": torch.zeros(4, 4)})
    assert torch.equal(net.condition_vectors(both), net.condition_vectors(other))


def test_pictures_get_a_gradient(net):
    """Which is how a generator is taught."""
    images, condition, person = colours(8)
    images.requires_grad_()
    contrastive_loss(net(images), net.condition_vectors(condition), person, net.temperature).backward()
    assert images.grad.flatten(1).any(1).all()
