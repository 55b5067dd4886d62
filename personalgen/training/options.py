"""How a generator is trained."""

import re
from dataclasses import dataclass, field

from personalgen.bounds import check_options

PRECISIONS = ("auto", "fp32", "bf16")
COMPILE = ("auto", "off", "on", "graphs")
_DEVICES = '"auto", "cpu", "cuda" or "cuda:" and a number'
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
GPU_BUSY = ("wait", "refuse", "share")
LOSSES = ("relativistic", "nonsaturating")
WITHOUT_EFFECT = ("device", "threads", "max_minutes", "slice_kimg", "compile", "groups_together", "gpu_busy")
"""Settings of where, how fast and in which slices a training runs: what it ends with is the same within rounding."""


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of the training loop; counts are in images seen, never in steps."""

    max_kimg: float = 30.0
    """Thousands of images of this training, warm start not counted."""
    max_minutes: float = 0.0
    """Stop cleanly after so many minutes of wall time; 0 means no limit. The state is kept and can be resumed."""
    slice_kimg: float = 0.0
    """Stop cleanly after so many thousands of images of this run, in the same way; 0 means no limit."""
    batch_size: int = 32
    """Images per step, over all processes."""
    device: str = "auto"
    """"auto" takes a GPU where there is one; else "cpu", "cuda" or "cuda:1"."""
    gpu_busy: str = "wait"
    """What a training does while another of this machine holds its GPU: "wait" for it, "refuse", or "share" it."""
    precision: str = "auto"
    """"auto" takes bfloat16 where the device computes in it, else float32; or "fp32", "bf16"."""
    compile: str = "auto"
    """Whether the step is compiled: "auto" does on a GPU; "graphs" also replays it from CUDA graphs; "on", "off"."""
    groups_together: int = 1
    """Groups of a grouped convolution that are computed as one, with zeros between them: the same function,
    with more arithmetic in larger products. For GPUs; `benchmarks/gpu` finds the best."""
    threads: int = 2
    """CPU threads of the training stage; 1 is often faster on a shared machine."""
    learning_rate: float = 5e-4
    """Adam's step at the start."""
    final_learning_rate: float = 1e-4
    """Adam's step at the end of `max_kimg` (cosine)."""
    warmup_kimg: float = 1.0
    """Thousands of images over which Adam's step rises from zero: its second moments are not known yet, and without
    it a warm start would be thrown off its weights."""
    loss: str = "relativistic"
    """"relativistic" pairs each real image with a made one; "nonsaturating" judges each by itself, as the first GANs
    did: with r1_gamma, final_r1_gamma, feature_weight, mismatch_weight, contrast_weight and augment at 0 it is the
    published loss of `dcgan` and `dense_gan`. A VAE has its own, and heeds none of the adversarial settings below."""
    r1_gamma: float | None = None
    """Weight of R1 + R2 at the start; by default 2 at 32 pixels and four times as much per doubling of the edge."""
    final_r1_gamma: float | None = None
    """Weight of R1 + R2 at the end (cosine); by default 0.15 of the start's."""
    penalty_every: int = 1
    """Steps per penalty, whose weight grows with it; 1 is steadier, 4 or 8 cheaper (as in StyleGAN2)."""
    feature_weight: float = 1.0
    """Weight of the discriminator on frozen features (needs the extra `demo`); 0 leaves it out."""
    feature_px: int = 64
    """Edge to which images are brought for the frozen features; at least 32, which the frozen net needs."""
    mismatch_weight: float = 1.0
    """Weight of telling a real image with its own user's condition from the same image with another user's. Like the
    next two, it counts where there is a condition, and needs a batch of several people."""
    wrong_fake_weight: float = 0.0
    """Weight of telling a made image under another user's condition from a real one under its own."""
    contrast_weight: float = 0.5
    """Weight of the contrastive preference loss: a made image shall be recognised as its user's among the batch, by the
    fields that tell of people (not by labels or text of the picture)."""
    candidates: int = 0
    """Latents tried per real image, of which the one that comes nearest to it is trained; 0 takes them as drawn. Four
    make a generator that has shapes already more diverse; from scratch they were not shown to help."""
    match_weight: float = 2.0
    """Weight of the difference between a real image and the picture that came nearest to it."""
    kl_weight: float = 0.01
    """Weight of a VAE's divergence from the prior, averaged over latents, beside a reconstruction error averaged over
    numbers."""
    kl_warmup_kimg: float = 4.0
    """Thousands of images over which that weight rises from zero."""
    condition_dropout: float = 0.1
    """Share of rows trained without any condition, which guidance needs at sampling."""
    field_dropout: dict[str, float] = field(default_factory=dict)
    """Share of rows trained without one field, by its name; each field is dropped by itself."""
    condition_ramp_kimg: float = 0.0
    """Thousands of images over which the dropout falls from 1 to `condition_dropout`: first unconditional, then not."""
    condition_jitter: float = 0.1
    """Noise on a vector's values, as a share of their standard deviation."""
    user_mixup: float = 0.0
    """Share of people who are blended with another one: vectors mixed, pictures from either in proportion."""
    history_dropout: float = 0.0
    """Share of a behaviour sequence's elements that are left out."""
    augment: float | None = None
    """Probability of each augmentation of what the discriminators see; by default decided by the number of images."""
    augment_ramp_kimg: float = 0.0
    """Thousands of images over which that probability rises from zero."""
    flip: bool = True
    """Whether a mirrored picture is as good as the picture."""
    ema_kimg: float = 5.0
    """Half-life of the generator's moving average in thousands of images."""
    snapshot_kimg: float = 10.0
    """How often sample grids and metrics are taken, health is checked and the state is saved."""
    max_rollbacks: int = 3
    """How often a training that diverged or collapsed goes back to its last good checkpoint, at half the learning rate,
    before it fails."""
    least_diversity: float = 0.05
    """Spread of a fixed grid of pictures, as a share of that of real ones, under which a training has collapsed."""
    seed: int = 0
    """Seed of weights, batches and noise."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained with, all in one message."""
        positive = ("max_kimg", "learning_rate", "ema_kimg", "snapshot_kimg")
        not_negative = (
            "max_minutes",
            "slice_kimg",
            "final_learning_rate",
            "warmup_kimg",
            "kl_weight",
            "kl_warmup_kimg",
        )
        weights = ("feature_weight", "mismatch_weight", "wrong_fake_weight", "contrast_weight", "match_weight")
        ramps = ("condition_ramp_kimg", "augment_ramp_kimg", "condition_jitter", "candidates", "seed", "max_rollbacks")
        given = [name for name in ("r1_gamma", "final_r1_gamma") if getattr(self, name) is not None]
        check_options(
            "train",
            self,
            least={"batch_size": 1, "groups_together": 1, "threads": 1, "feature_px": 32, "penalty_every": 1}
            | dict.fromkeys((*not_negative, *weights, *ramps, *given), 0),
            above=dict.fromkeys(positive, 0),
            shares=(
                *("condition_dropout", "user_mixup", "history_dropout", "least_diversity"),
                *(["augment"] if self.augment is not None else []),
            ),
            choices={"precision": PRECISIONS, "compile": COMPILE, "loss": LOSSES, "gpu_busy": GPU_BUSY},
            more=[
                *([] if _DEVICE.fullmatch(self.device) else [f"device must be {_DEVICES}, found {self.device!r}"]),
                *(
                    f"field_dropout.{name} must be in [0, 1], found {share}"
                    for name, share in self.field_dropout.items()
                    if not 0 <= share <= 1
                ),
            ],
        )


def batch_fault(batch_size: int, group_size: int) -> str | None:
    """Return what is wrong where groups of one person's images do not divide a batch."""
    if batch_size % group_size == 0:
        return None
    return f"batch_size must be a multiple of model.group_size, which is {group_size}, found {batch_size}"
