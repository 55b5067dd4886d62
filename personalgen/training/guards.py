"""Whether a training is still healthy: finite, not saturated, and not drawing one picture for everybody."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from personalgen.conditions import Condition
from personalgen.models import Generator
from personalgen.training.dataset import TrainingPairs
from personalgen.training.matching import pooled_colours

YOUNG_IMG = 5000
"""Images, warm start included, before which pictures may still be all alike."""
GRID = 64
"""Pictures of the fixed grid that diversity is measured on."""
_SATURATED_GAP = 100.0
"""Mean difference between real and made logits beyond which a discriminator teaches nothing any more."""


class FixedGrid:
    """The same latents and conditions at every look, and how much real pictures differ."""

    def __init__(self, pairs: TrainingPairs, z_dim: int) -> None:
        """Choose latents and conditions; they depend on the data alone and use none of the training's randomness."""
        rng = torch.Generator(pairs.device).manual_seed(0)
        batch = pairs.draw(GRID, 1, rng=rng)
        self.condition: Condition = batch.condition
        self.z = torch.randn(GRID, z_dim, generator=rng, device=pairs.device)
        self.real_spread = _spread(batch.images)

    @torch.no_grad()
    def diversity(self, generator: Generator) -> float:
        """Return the spread of the generator's pictures as a share of that of real ones."""
        return _spread(generator(self.z, self.condition).clamp(-1, 1)) / max(self.real_spread, 1e-8)


def fault_of(metrics: Mapping[str, float], *, seen_img: float, least_diversity: float) -> str | None:
    """Return what is wrong with a training whose last means are `metrics`; None where nothing is."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        return f"{', '.join(bad)} is not finite"
    if (gap := metrics.get("logit_gap", 0.0)) > _SATURATED_GAP:
        return f"the discriminator is saturated: real and made logits are {gap:.0f} apart"
    if seen_img >= YOUNG_IMG and (diversity := metrics["diversity"]) < least_diversity:
        return f"the pictures have collapsed: they differ {diversity:.3f} times as much as real ones"
    return None


def _spread(images: Tensor) -> float:
    """Return the standard deviation over images of their colours at 8 x 8, averaged."""
    return float(pooled_colours(images).std(0).mean())
