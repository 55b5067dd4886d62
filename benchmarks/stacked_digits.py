"""How many of 1,000 modes a generator covers: three random digits stacked as the channels of one picture.

    python -m benchmarks.stacked_digits --json build/stacked.json

Each family trains on the same pictures for the same number of images; a digit classifier counts which of the 1,000
combinations its pictures show (Metz et al., arXiv:1611.02163, section 3.3.1; the digits are scikit-learn's, 8 x 8).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from benchmarks.digits import PX, digits
from personalgen.artifacts import write_json
from personalgen.conditions import Condition, ConditionSpec
from personalgen.generation.sampler import Sampler
from personalgen.models import Generator, ModelOptions
from personalgen.seeding import derive_seed
from personalgen.training import Job, TrainingOptions, TrainingPairs, train

MODES = 1000
MODEL: dict[str, Any] = {"resolution": PX, "width": 32, "max_width": 128, "discriminator_width": 32, "group_size": 1}
TRAINING: dict[str, Any] = {
    "batch_size": 64,
    "threads": 1,
    "feature_weight": 0.0,
    "augment": 0.0,
    "flip": False,
    "ema_kimg": 2.0,
    "least_diversity": 0.0,
}
PLAYERS: dict[str, dict[str, Any]] = {
    "r3gan": {
        "batch_size": 16,
        "r1_gamma": 0.5,
        "final_r1_gamma": 0.3,
        "learning_rate": 1e-3,
        "final_learning_rate": 2e-5,
    },
    "dcgan": {"loss": "nonsaturating", "r1_gamma": 0.0, "final_r1_gamma": 0.0, "learning_rate": 2e-4},
    "dense_gan": {"loss": "nonsaturating", "r1_gamma": 0.0, "final_r1_gamma": 0.0, "learning_rate": 2e-4},
    "vae": {"learning_rate": 1e-3, "kl_weight": 0.003},
}
"""What differs between the families: the published loss of each, and the steps that it likes."""

Digits = NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    n_pictures, n_samples, kimg = (640, 640, 0.64) if given.quick else (25_600, 20_000, given.kimg)
    known, labels = digits()
    classifier = SVC(C=10.0).fit(_flat(known[::2]), labels[::2])
    accuracy = float(classifier.score(_flat(known[1::2]), labels[1::2]))
    pictures = stacked(known, n_pictures, np.random.default_rng(0))
    real = covered(classifier, stacked(known, n_samples, np.random.default_rng(1)))
    print(f"digit classifier {accuracy:.3f} right; of {n_samples:,} real pictures: {real[0]} modes, KL {real[1]:.3f}")
    print(f"{'family':<10} {'modes':>6} {'KL':>7} {'diversity':>10} {'CPU min':>8}", flush=True)
    figures: dict[str, float] = {"classifier_accuracy": accuracy, "real_modes": real[0], "real_kl_nats": real[1]}
    for family in given.family or PLAYERS:
        start = time.process_time()
        generator = trained(family, pictures, kimg)
        minutes = (time.process_time() - start) / 60
        images = drawn(generator, n_samples)
        modes, kl = covered(classifier, images)
        spread = float(images.std(0).mean() / pictures.std(0).mean())
        print(f"{family:<10} {modes:>6} {kl:>7.3f} {spread:>10.3f} {minutes:>8.2f}", flush=True)
        own = {"modes": modes, "kl_nats": kl, "diversity": spread, "train_cpu_minutes": minutes}
        figures |= {f"{family}_{name}": value for name, value in own.items()}
    if given.json:
        write_json(given.json, figures)
    return 0


def stacked(known: Digits, count: int, rng: np.random.Generator) -> Digits:
    """Return (count, 16, 16, 3) pictures of three random digits each."""
    chosen = rng.integers(0, len(known), (count, 3))
    return np.ascontiguousarray(known[chosen].transpose(0, 2, 3, 1))


def trained(family: str, pictures: Digits, kimg: float) -> Generator:
    """Return an unconditional generator of the family."""
    rows = np.arange(len(pictures))
    options = TrainingOptions(**{**TRAINING, **PLAYERS[family], "max_kimg": kimg, "snapshot_kimg": kimg})
    pairs, model = TrainingPairs.of(pictures, rows, rows), ModelOptions(**MODEL, family=family)
    job = Job(pairs, ConditionSpec(()), model, options)
    with tempfile.TemporaryDirectory() as folder:
        return train(job, folder=Path(folder)).generator


def drawn(generator: Generator, count: int) -> Digits:
    """Return (count, 16, 16, 3) pictures."""
    seeds = [derive_seed("stacked digits", k) for k in range(count)]
    return Sampler(generator, batch_size=256).sample(Condition.none(count), seeds)


def covered(classifier: SVC, pictures: Digits) -> tuple[int, float]:
    """Return how many of the 1,000 modes are shown, and the divergence of their shares from even ones, in nats."""
    channels = [classifier.predict(_flat(pictures[..., k])) for k in range(3)]
    shares = np.bincount(channels[0] * 100 + channels[1] * 10 + channels[2], minlength=MODES) / len(pictures)
    shown = shares[shares > 0]
    return len(shown), float((shown * np.log(shown * MODES)).sum())


def _flat(pictures: Digits) -> NDArray[np.float32]:
    return np.asarray(pictures.reshape(len(pictures), -1) / 255, np.float32)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stacked_digits", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kimg", type=float, default=150.0, help="thousands of images that each family trains on")
    parser.add_argument("--family", action="append", choices=sorted(PLAYERS), help="one family only; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
