"""How a generator is trained."""

from dataclasses import dataclass

from personalgen.bounds import check_options

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of the training loop; counts are in images seen, never in steps."""

    max_kimg: float = 30.0
    """Thousands of images of this training, warm start not counted."""
    max_minutes: float = 0.0
    """Stop cleanly after so many minutes of wall time; 0 means no limit. The state is kept and can be resumed."""
    batch_size: int = 32
    """Images per step."""
    device: str = "auto"
    """"auto" takes a GPU where there is one; else "cpu", "cuda" or "cuda:1"."""
    precision: str = "auto"
    """"auto" takes bfloat16 where the device computes in it, else float32; or "fp32", "bf16"."""
    threads: int = 2
    """CPU threads of the training stage; 1 is often faster on a shared machine."""
    learning_rate: float = 5e-4
    """Adam's step at the start."""
    final_learning_rate: float = 1e-4
    """Adam's step at the end of `max_kimg` (cosine)."""
    warmup_kimg: float = 1.0
    """Thousands of images over which Adam's step rises from zero: its second moments are not known yet, and without
    it a warm start would be thrown off its weights."""
    r1_gamma: float = 2.0
    """Weight of R1 + R2 at the start."""
    final_r1_gamma: float = 0.3
    """Weight of R1 + R2 at the end (cosine)."""
    feature_weight: float = 1.0
    """Weight of the discriminator on frozen features (needs the extra `demo`); 0 leaves it out."""
    feature_px: int = 64
    """Edge to which images are brought for the frozen features."""
    mismatch_weight: float = 0.2
    """Weight of telling a real image with its own user's vector from the same image with another user's."""
    candidates: int = 0
    """Latents tried per real image, of which the one that comes nearest to it is trained; 0 takes them as drawn. Four
    make a generator that has shapes already more diverse; from scratch they were not shown to help."""
    match_weight: float = 2.0
    """Weight of the difference between a real image and the picture that came nearest to it."""
    condition_dropout: float = 0.1
    """Share of rows trained without condition, which guidance needs at sampling."""
    condition_jitter: float = 0.1
    """Standard deviation of noise on the standardised vectors."""
    augment: float = 0.5
    """Probability of each augmentation of what the discriminators see."""
    flip: bool = True
    """Whether a mirrored picture is as good as the picture."""
    ema_kimg: float = 5.0
    """Half-life of the generator's moving average in thousands of images."""
    snapshot_kimg: float = 10.0
    """How often sample grids and metrics are taken and the state is saved."""
    seed: int = 0
    """Seed of weights, batches and noise."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained with, all in one message."""
        positive = ("max_kimg", "learning_rate", "ema_kimg", "snapshot_kimg")
        not_negative = ("max_minutes", "final_learning_rate", "warmup_kimg", "r1_gamma", "final_r1_gamma")
        weights = ("feature_weight", "mismatch_weight", "match_weight", "condition_jitter")
        check_options(
            "train",
            self,
            least={"batch_size": 1, "threads": 1, "feature_px": 1}
            | dict.fromkeys(("candidates", "seed", *not_negative, *weights), 0),
            above=dict.fromkeys(positive, 0),
            shares=("condition_dropout", "augment"),
            choices={"precision": PRECISIONS},
        )


def batch_fault(batch_size: int, group_size: int) -> str | None:
    """Return what is wrong where groups of one person's images do not divide a batch."""
    if batch_size % group_size == 0:
        return None
    return f"batch_size must be a multiple of model.group_size, which is {group_size}, found {batch_size}"
