"""What changes while a training goes on: pure functions of the images seen."""

import math
from dataclasses import dataclass

from personalgen.models import ModelOptions
from personalgen.training.options import TrainingOptions

_GAMMA_AT_32_PX = 2.0
_FINAL_GAMMA = 0.15


@dataclass(frozen=True)
class Schedule:
    """The settings of one step."""

    phase: str
    """What is minimised: "variational" (a VAE's bound), "penalised" or "plain" (the game with or without R1 and R2)."""

    learning_rate: float
    r1_gamma: float
    augment: float
    """Probability of each augmentation."""
    condition_dropout: float
    """Share of rows without condition."""
    kl_weight: float


def schedule(options: TrainingOptions, model: ModelOptions, *, seen_img: int, n_images: int) -> Schedule:
    """Return the settings of the step after `seen_img` images, for a data set of `n_images` pictures."""
    done = min(seen_img / (1000 * options.max_kimg), 1.0)
    gamma, final_gamma = gammas(options, model.resolution)
    most = augment_probability(n_images) if options.augment is None else options.augment
    warm = min((seen_img + options.batch_size) / max(1000 * options.warmup_kimg, 1), 1.0)
    dropped = options.condition_dropout
    return Schedule(
        phase=_phase(options, model, seen_img=seen_img),
        learning_rate=warm * cosine(options.learning_rate, options.final_learning_rate, done),
        r1_gamma=cosine(gamma, final_gamma, done),
        augment=most * ramp(seen_img, options.augment_ramp_kimg),
        condition_dropout=1 - (1 - dropped) * ramp(seen_img, options.condition_ramp_kimg),
        kl_weight=options.kl_weight * ramp(seen_img, options.kl_warmup_kimg),
    )


def _phase(options: TrainingOptions, model: ModelOptions, *, seen_img: int) -> str:
    """Return what the step after `seen_img` images minimises."""
    if model.family == "vae":
        return "variational"
    due = (seen_img // options.batch_size) % options.penalty_every == 0
    return "penalised" if due and any(gammas(options, model.resolution)) else "plain"


def gammas(options: TrainingOptions, resolution: int) -> tuple[float, float]:
    """Return the weights of R1 + R2 at the start and at the end.

    Where they are not given: 2 (resolution / 32)^2, and 0.15 of that at the end. A gradient has as many numbers as the
    picture has, and the published weights grow about fourfold per doubling of the edge (R3GAN, arXiv:2501.05441,
    appendix: 0.05 at 32, 1 to 2 at 64 pixels, cosine to a tenth; StyleGAN2-ADA, arXiv:2006.06676: proportional to the
    number of pixels). Ours starts higher than R3GAN's at 32 pixels because our nets and batches are smaller.
    """
    start = options.r1_gamma
    if start is None:
        start = _GAMMA_AT_32_PX * (resolution / 32) ** 2
    end = options.final_r1_gamma
    return start, _FINAL_GAMMA * start if end is None else end


def augment_probability(n_images: int) -> float:
    """Return the probability of each augmentation for a data set of `n_images` pictures.

    0.3 at 50,000, as R3GAN ends with on CIFAR-10, and more where there are fewer: 0.3 (50,000 / n)^0.15, between 0.1
    and 0.8. That gives 0.38 at 10,000, 0.54 at 1,000 and 0.63 at 360, near what ADA's controller settles at
    (arXiv:2006.06676, figure 5).
    """
    return min(max(0.3 * math.pow(50_000 / max(n_images, 1), 0.15), 0.1), 0.8)


def cosine(start: float, end: float, done: float) -> float:
    """Return the value between `start` and `end` at the share `done` of a half cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def ramp(seen_img: int, kimg: float) -> float:
    """Return the share of a linear rise over the first `kimg` thousand images; 1 where there is no rise."""
    return min(seen_img / (1000 * kimg), 1.0) if kimg else 1.0
