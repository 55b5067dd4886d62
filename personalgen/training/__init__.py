"""The training loop and what it is made of; it knows images, vectors and nets."""

from personalgen.training.dataset import Behaviour, TrainingPairs
from personalgen.training.loop import TrainingResult, train
from personalgen.training.options import TrainingOptions
from personalgen.training.state import TrainingState, save_discriminators, start_from

__all__ = [
    "Behaviour",
    "TrainingOptions",
    "TrainingPairs",
    "TrainingResult",
    "TrainingState",
    "save_discriminators",
    "start_from",
    "train",
]
