"""Whether the gate holds worse challengers and promotes better ones: verdicts and reasons over many seeds.

    python -m benchmarks.gate --home build/gate --json build/gate.json

All tries start from one snapshot, trained on other people. Each simulates people of its own and trains three nets, one
from the other and equally long. The first is trained on shuffled users, everybody's likes under somebody else's
preferences, and released as there is nothing else. The better one is trained on the likes as they are. The worse one is
trained on shuffled users again. Both meet the night's own evaluation and gate. README.md tells more.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from personalgen import steps
from personalgen.artifacts import write_json
from personalgen.cli.terminal import quiet_environment
from personalgen.config import Settings, load_settings
from personalgen.errors import PersonalgenError, UserError
from personalgen.registry.run import Run
from personalgen.steps import Embedded, Night, Trained, Workspace
from personalgen.steps.data import NightData
from personalgen.steps.night import run_stage
from personalgen.steps.train import save_model, train_job, training_facts, training_job
from personalgen.training import TrainingPairs

ROOT = Path(__file__).resolve().parent.parent
CONFIG, QUICK_CONFIG = ROOT / "benchmarks" / "gate.toml", ROOT / "benchmarks" / "world-quick.toml"
FIRST, BETTER, WORSE = "first", "better", "worse"
SNAPSHOT_KIMG, KIMG = 40.0, 5.0
"""Thousands of images that the snapshot sees, and each net of a try."""
_QUICK_KIMG = 0.128
_OTHER_PEOPLE = 999_983
"""Seed of the people of the snapshot."""
_QUICK = ["gate.max_kid_over_floor=1000", "gate.min_gain=-10", "gate.min_diversity=0", "gate.max_memorised=1"]
_COMPARED = ("fit", "kid")


@dataclass(frozen=True)
class Try:
    """What the gate said of one challenger."""

    seed: int
    challenger: str
    """FIRST, BETTER or WORSE."""
    promoted: bool
    reasons: tuple[str, ...]
    paired: Mapping[str, float]
    """Challenger less champion with the ends of its intervals; empty where nothing was compared."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    quiet_environment()
    found: list[Try] = []
    try:
        for seed in range(given.first_seed, given.first_seed + given.tries):
            for each in tries(given, seed):
                print("\n  ".join([heading(each), *each.reasons]), flush=True)
                found.append(each)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    figures = flat(found)
    print("\n".join(f"{name:<24} {value:g}" for name, value in figures.items()))
    if given.json:
        write_json(given.json, figures)
    return 0


def tries(given: argparse.Namespace, seed: int) -> Iterator[Try]:
    """Yield the verdicts of one seed's nights, which share a home; what is done is not run again."""
    start = f"snapshot={snapshot(given)}"
    for place, challenger in enumerate((FIRST, BETTER, WORSE)):
        settings = _settings(given, seed, KIMG, start, f"train.seed={3 * seed + place}")
        yield one_try(settings, seed, challenger)


def snapshot(given: argparse.Namespace) -> str:
    """Return the folder of a generator that has learnt other people's likes, after training it where it is missing."""
    with _opened(_settings(given, _OTHER_PEOPLE, SNAPSHOT_KIMG)) as (workspace, night, embedded):
        return steps.train(workspace, night, embedded).folder


def one_try(settings: Settings, seed: int, challenger: str) -> Try:
    """Run a night up to its release; return the gate's verdict."""
    with _opened(settings) as (workspace, night, embedded):
        train = steps.train if challenger == BETTER else train_on_shuffled
        trained = train(workspace, night, embedded)
        evaluated = steps.evaluate(workspace, night, embedded, trained)
        registered = steps.register(workspace, night, trained, evaluated)
        decided = steps.promote(workspace, night, evaluated, registered)
        generated = steps.generate(workspace, night, embedded, decided)
        steps.release(workspace, night, registered, decided, generated)
    return Try(seed, challenger, decided.promote, decided.reasons, evaluated.paired)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Workspace, Night, Embedded]]:
    """Yield a home with its night, prepared and embedded."""
    end = datetime.fromtimestamp(settings.world.history.end_timestamp, UTC)
    workspace = Workspace(settings, now=lambda: end)  # the clock decides nothing: a night is the same on every day
    with workspace.only_night():
        night = steps.prepare(workspace)
        yield workspace, night, steps.embed(workspace, night, steps.recommend(workspace, night))
    workspace.close()


def train_on_shuffled(workspace: Workspace, night: Night, embedded: Embedded) -> Trained:
    """Return what `steps.train` would, trained on shuffled users."""
    return run_stage(workspace, night, Trained, lambda run: _train_on_shuffled(workspace, night, embedded, run))


def _train_on_shuffled(workspace: Workspace, night: Night, embedded: Embedded, run: Run) -> Trained:
    start = Path(embedded.start) if embedded.start else None
    job = training_job(workspace, night, embedded, start)
    job = replace(job, pairs=shuffled(job.pairs, workspace.settings.train.seed))
    result = train_job(job, night.path / "train", start)
    facts = training_facts(night, NightData.of(workspace, night), embedded, start) | {"shuffled": True}
    basis = embedded.folder(night, embedded.train_basis)
    card = save_model(night.path / "train", result, basis, basis_version=embedded.train_basis, facts=facts)
    return Trained(
        folder=str(night.path / "train" / "model"),
        generator_sha256=card.generator_sha256,
        basis_version=embedded.train_basis,
        run_id=run.run_id,
        n_pairs=len(job.pairs.image_of_pair),
        n_images=len(job.pairs.images),
        kimg=workspace.settings.train.max_kimg,
        trained_kimg=result.trained_kimg,
        img_per_sec=None,
    )


def shuffled(pairs: TrainingPairs, seed: int) -> TrainingPairs:
    """Return the pairs with each user's pictures under the conditions of the next user in a random circle of them.

    The pictures of one user stay together, so that nothing is wrong but whose they are; who has more of them than the
    next one has conditions sees those again.
    """
    first, of_pair = torch.unique(pairs.start_of_pair, return_inverse=True)
    count = pairs.count_of_pair[first]
    circle = torch.from_numpy(np.random.default_rng(seed).permutation(len(first)))
    following = torch.empty_like(circle)
    following[circle] = circle.roll(-1)
    place = torch.arange(len(of_pair)) - pairs.start_of_pair
    other = following[of_pair]
    return replace(pairs, of_pair=pairs.of_pair.take(first[other] + place % count[other]))


def heading(each: Try) -> str:
    """Return one try as a line: who, and what it differs by."""
    told = [f"seed {each.seed:<3} {each.challenger:<6} {'promoted' if each.promoted else 'held':<8}"]
    for name in _COMPARED if each.paired else ():
        diff, low, high = (each.paired[f"{name}_{end}"] for end in ("diff", "low", "high"))
        told.append(f"{name} {diff:+.3f} [{low:+.3f}, {high:+.3f}]")
    return "  ".join(told)


def flat(found: Sequence[Try]) -> dict[str, float]:
    """Return the counts that are asked for as one flat object."""
    worse, better = ([each for each in found if each.challenger == name] for name in (WORSE, BETTER))
    held = [each for each in worse if not each.promoted]
    return {
        "worse_tried": len(worse),
        "worse_held": len(held),
        "worse_held_as_fit_fell": sum(each.paired.get("fit_high", 0.0) < 0 for each in held),
        "better_tried": len(better),
        "better_promoted": sum(each.promoted for each in better),
    }


def _settings(given: argparse.Namespace, seed: int, kimg: float, *own: str) -> Settings:
    config, loose = (QUICK_CONFIG, _QUICK) if given.quick else (CONFIG, [])
    own = (*own, f"home={given.home}/{seed}", f"train.max_kimg={_QUICK_KIMG if given.quick else kimg}")
    return load_settings(config, [*loose, *own, f"world.history.seed={seed}", *given.set])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=20, help="seeds, each with a better and a worse challenger")
    parser.add_argument("--first-seed", type=int, default=0, help="the others follow")
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "gate", help="folder to go on from, or to make")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="wins over the file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
