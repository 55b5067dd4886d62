"""`python -m personalgen.training FOLDER`: train the job in a folder, alone or in each process that torchrun started.

Needs torch and the numeric stack, and nothing of tables, trackers or catalogues: a night's training can run elsewhere.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from personalgen.errors import PersonalgenError, UnfinishedError
from personalgen.training.distributed import joined, train_beside
from personalgen.training.job import Job, load_job
from personalgen.training.loop import TrainingResult, train


def main(argv: Sequence[str] | None = None) -> int:
    """Train; return 0, or 75 where this run's share ended before the training, or 1 or 2 after an error."""
    given = _parser().parse_args(argv)
    try:
        job = load_job(given.folder)
        limits = {"max_minutes": given.max_minutes, "slice_kimg": given.max_kimg}
        job = replace(job, options=replace(job.options, device=given.device or job.options.device, **limits))
        with joined(job.options.device) as team:
            if not team.is_first:
                train_beside(job)
                return 0
            return _report(given.folder, _train(job, given.folder))
    except PersonalgenError as error:
        sys.stderr.write(f"personalgen.training: {error}\n")
        return error.exit_code


def _train(job: Job, folder: Path) -> TrainingResult:
    """Return what the training gave; its metrics are told as lines of JSON."""

    def log(metrics: dict[str, float], seen_img: int) -> None:
        sys.stdout.write(json.dumps({"seen_img": seen_img} | metrics) + "\n")
        sys.stdout.flush()

    return train(job, folder=folder, log=log)


def _report(folder: Path, result: TrainingResult) -> int:
    """Say what to do next; return the exit code."""
    if result.finished:
        sys.stderr.write(
            f"trained {result.seen_img:,} images. Copy {folder}/checkpoint.safetensors into the night's train folder: "
            "`personalgen train` makes tonight's model of it.\n"
        )
        return 0
    sys.stderr.write(f"this run's share ended after {result.seen_img:,} images. Run it again to go on.\n")
    return UnfinishedError.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m personalgen.training",
        description="Train the job in FOLDER, or go on from the checkpoint there.",
    )
    parser.add_argument("folder", type=Path, help="as `personalgen train --job-only` wrote it")
    parser.add_argument("--device", help="instead of the job's train.device")
    parser.add_argument("--max-minutes", type=float, default=0.0, help="end this run after so much wall time")
    parser.add_argument("--max-kimg", type=float, default=0.0, help="end this run after so many thousands of images")
    return parser


if __name__ == "__main__":
    sys.exit(main())
