"""How much is measured, and how surely."""

import math
from dataclasses import dataclass

from personalgen.bounds import check_options

MIN_USERS = 8


@dataclass(frozen=True)
class EvaluationOptions:
    """Sizes, confidence and seed of one evaluation; champion and challenger always share them."""

    n_users: int = 256
    """Most users whose pictures are judged; the same ones every night, by the hash of their ids."""

    images_per_user: int = 4
    """Pictures generated for each of these users."""

    min_likes: int = 1
    """Fewest held-out likes on judge items, and on test items, that a user needs to be judged."""

    max_items: int = 4096
    """Most held-out real items drawn for fidelity and for fitting the judge; liked ones come on top."""

    feature_px: int = 64
    """Side in pixels to which pictures are resized before the judge's net."""

    judge_dims: int = 16
    """Most whitened dimensions the judge compares in; few dimensions see taste with the least noise."""

    guidances: tuple[float, ...] = ()
    """Guidances tried tonight beside `generation.guidance`. Where any, or a truncation, is named, the challenger is
    drawn at the point that the rule chooses (evaluation/operating_curve.py), and released at it."""

    truncations: tuple[float, ...] = ()
    """Truncations tried tonight beside `generation.truncation_psi`, each with each guidance."""

    bootstrap: int = 1000
    """Resamples of the users behind each interval of personal fit."""

    permutations: int = 1000
    """Random reassignments of users behind the p-value; the smallest p is 1 / (permutations + 1)."""

    confidence: float = 0.95
    """Coverage of every interval, between 0 and 1."""

    batch_size: int = 64
    """Pictures per pass of the judge's net."""

    threads: int = 1
    """Torch threads of the judge's net on a CPU."""

    seed: int = 0
    """Seed of resampling, permutations and the choice of real items."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be measured, all in one message."""
        check_options(
            "evaluation",
            self,
            least=dict.fromkeys(("images_per_user", "min_likes", "judge_dims", "batch_size", "threads"), 1)
            | {
                "feature_px": 32,
                "n_users": MIN_USERS,
                "max_items": 16,
                "bootstrap": 100,
                "permutations": 100,
                "seed": 0,
            },
            more=[
                *([] if 0.5 <= self.confidence < 1 else [f"confidence must be in [0.5, 1), found {self.confidence}"]),
                *(
                    f"{name} must be at least 0, found {value}"
                    for name in ("guidances", "truncations")
                    for value in getattr(self, name)
                    if not (math.isfinite(value) and value >= 0)
                ),
            ],
        )


@dataclass(frozen=True)
class ScoreOptions:
    """Options of the score stage."""

    images: int | str = 20_000
    """Most new images of a night that get the judge's score, those of the same people every night (about 3 ms each on
    one core); "all" or "none"."""

    def __post_init__(self) -> None:
        """Refuse what is no number of images."""
        is_count = isinstance(self.images, int) and not isinstance(self.images, bool) and self.images > 0
        fault = f'images must be "all", "none" or a number above 0, found {self.images!r}'
        check_options("score", self, more=[] if is_count or self.images in ("all", "none") else [fault])

    @property
    def most(self) -> int | None:
        """The largest number of images, None for all."""
        return None if self.images == "all" else 0 if self.images == "none" else int(self.images)
