"""Preference maximisation in the latent: pictures for a user by searching z, instead of by one pass.

How the one line of work before this that personalised a GAN did it (Kang et al. 2017, Visually-aware fashion
recommendation and design with GANs, eq. 9): the generator is told nothing of users, and Adam moves z to where the
picture's score for the user is highest. It costs as many passes forth and back, through generator and scorer, as there
are steps. Here it is a baseline. Where we differ: z is kept at its first length instead of asking a discriminator, so
that it stays where the generator was trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.bounds import check_options
from personalgen.generation.sampler import reproducible, to_uint8
from personalgen.models import Generator
from personalgen.seeding import draw_z

Score = Callable[[Tensor, Tensor], Tensor]
"""From (B, 3, R, R) images in [-1, 1] and the (B,) rows they are for to (B,) scores, differentiable."""


@dataclass(frozen=True)
class MaximiseOptions:
    """How long z is searched for."""

    steps: int = 10
    """Adam steps for each picture."""
    learning_rate: float = 0.1
    """Adam's step."""
    batch_size: int = 64
    """Pictures at a time."""
    n_threads: int = 1
    """CPU threads."""

    def __post_init__(self) -> None:
        """Refuse a search that goes nowhere."""
        check_options("maximise", self, least={"steps": 1, "batch_size": 1, "n_threads": 1}, above={"learning_rate": 0})


def maximise(
    generator: Generator, score: Score, seeds: Sequence[int], options: MaximiseOptions | None = None
) -> NDArray[np.uint8]:
    """Return (len(seeds), R, R, 3) uint8: row k maximises the score of row k, from the z of seeds[k], told nothing."""
    options, generator = options or MaximiseOptions(), generator.eval()
    found = []
    with reproducible(options.n_threads):
        for start in range(0, len(seeds), options.batch_size):
            rows = torch.arange(start, min(start + options.batch_size, len(seeds)))
            found.append(to_uint8(_searched(generator, score, rows, seeds, options)))
    return np.concatenate(found)


def _searched(
    generator: Generator, score: Score, rows: Tensor, seeds: Sequence[int], options: MaximiseOptions
) -> Tensor:
    """Return the pictures of some rows in [-1, 1]."""
    null = generator.spec.null_condition(len(rows))
    z = draw_z([seeds[row] for row in rows.tolist()], generator.z_dim)
    length = z.norm(dim=1, keepdim=True)
    z.requires_grad_()
    adam = torch.optim.Adam([z], lr=options.learning_rate)
    for _ in range(options.steps):
        (gradient,) = torch.autograd.grad(-score(generator(z, null), rows).sum(), z)
        z.grad = gradient
        adam.step()
        with torch.no_grad():
            z.mul_(length / z.norm(dim=1, keepdim=True).clamp(min=1e-12))
    with torch.no_grad():
        pictures: Tensor = generator(z, null)
    return pictures
