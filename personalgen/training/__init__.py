"""The training loop and what it is made of; it knows images, vectors and nets."""

from personalgen.training.checkpoints import seen_images
from personalgen.training.dataset import Behaviour, TrainingPairs
from personalgen.training.distributed import leading, share_job
from personalgen.training.job import Job, load_job, save_job
from personalgen.training.loop import TrainingResult, save_start, train
from personalgen.training.options import TrainingOptions
from personalgen.training.state import TrainingState, save_companions, start_from

__all__ = [
    "Behaviour",
    "Job",
    "TrainingOptions",
    "TrainingPairs",
    "TrainingResult",
    "TrainingState",
    "leading",
    "load_job",
    "save_companions",
    "save_job",
    "save_start",
    "seen_images",
    "share_job",
    "start_from",
    "train",
]
