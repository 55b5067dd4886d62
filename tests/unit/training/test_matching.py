import torch

from personalgen.training.matching import match_loss, nearest_latents


def make(z):
    """Return pictures of one colour: latent k's channel c is z[k, c]."""
    return z[:, :3, None, None].expand(-1, 3, 16, 16)


def test_each_picture_gets_the_candidate_that_comes_nearest():
    """Among candidates that contain the very pictures, these are found, wherever they stand in their group."""
    z = torch.randn(24, 3)
    wanted = torch.cat([z[[7, 2]], z[[12, 23]]])
    assert torch.equal(nearest_latents(make, make(wanted), z, group_size=2), wanted)


def test_a_group_takes_only_its_own_candidates():
    """A candidate of another person is not taken, however near."""
    z = torch.randn(8, 3)
    found = nearest_latents(make, make(z[[5, 6, 1, 2]]), z, group_size=2)
    assert {tuple(row) for row in found[:2].tolist()} <= {tuple(row) for row in z[:4].tolist()}
    assert {tuple(row) for row in found[2:].tolist()} <= {tuple(row) for row in z[4:].tolist()}


def test_no_two_pictures_of_a_group_get_the_same_candidate():
    """Where both want one, the closer picture gets it and the other takes the next."""
    z = torch.tensor([[0.0, 0, 0], [1.0, 1, 1], [9.0, 9, 9], [8.0, 8, 8]])
    images = make(torch.tensor([[0.4, 0.4, 0.4], [0.1, 0.1, 0.1]]))
    assert torch.equal(nearest_latents(make, images, z, group_size=2), z[[1, 0]])


def test_more_candidates_come_nearer():
    """With sixteen times as many latents to choose from, pictures match better."""
    images = make(torch.randn(64, 3))
    few, many = (nearest_latents(make, images, torch.randn(64 * n, 3), group_size=4) for n in (1, 16))
    assert match_loss(make(many), images) < 0.5 * match_loss(make(few), images)


def test_pictures_channels_last_are_compared_alike():
    """The memory format does not matter."""
    z, images = torch.randn(8, 3), torch.randn(4, 3, 16, 16)
    found = nearest_latents(make, images.contiguous(memory_format=torch.channels_last), z, group_size=2)
    assert torch.equal(found, nearest_latents(make, images, z, group_size=2))


def test_the_match_loss_is_the_mean_squared_difference():
    """A constant difference counts the same at every size; noise counts less where it is averaged out."""
    images = torch.zeros(2, 3, 16, 16)
    assert torch.allclose(match_loss(images + 0.5, images), torch.tensor(0.25))
    noise = torch.randn(2, 3, 16, 16)
    assert match_loss(noise, images) < 0.6 * noise.square().mean()
