"""How soon a GAN trained from scratch serves people's tastes: personal fit by the planted truth over training time.

    python -m benchmarks.world --home build/world --max-minutes 30 --json build/world.json

Trains on a world (shapes, faces or landscapes) and measures every snapshot on people and likes that were held out.
README.md tells what the columns mean.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.artifacts import read_json, write_json
from personalgen.cli.terminal import quiet_environment
from personalgen.config import Settings, load_settings
from personalgen.embeddings import PreferenceTable
from personalgen.errors import PersonalgenError, UserError
from personalgen.evaluation import (
    AttributeEstimator,
    EstimatorOptions,
    PlantedYardstick,
    SheetRow,
    cached_estimator,
    contact_sheet,
    judge_features,
    kid,
    reading_error,
    select_planted,
    true_utility_scores,
    write_png,
)
from personalgen.generation.options import OperatingPoint
from personalgen.generation.sampler import Sampler
from personalgen.models import Generator
from personalgen.steps import Workspace, embed, prepare, recommend
from personalgen.steps.data import NightData
from personalgen.steps.embed import preferences
from personalgen.steps.fields import spec_to_train
from personalgen.steps.train import training_pairs
from personalgen.steps.yardstick import draw
from personalgen.training import Job, start_from, train
from personalgen.worlds import AttributeWorld, PlantedUsers, find_attribute_world, known_attributes, taste_in_words

ROOT = Path(__file__).resolve().parent.parent
CONFIG, QUICK_CONFIG = ROOT / "configs" / "shapes.toml", ROOT / "benchmarks" / "world-quick.toml"
QUICK_ESTIMATOR = EstimatorOptions(n_renders=1000, n_checked=200, epochs=2)
_SHEET_USERS, _SHEET_LIKES = 16, 4
_HEADER = "    kimg   cpu min  wall min   img/s   NPG warm, 95 %            NPG cold  sure share     KID"

Row = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = parsed(arguments)
    quiet_environment()
    try:
        figures = run(given)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    if given.json:
        write_json(given.json, figures)
    return 0


def run(given: argparse.Namespace) -> dict[str, float]:
    """Train, or go on, and measure; return the figures of the newest measurement and of the estimator."""
    return trained(given)[2]


def trained(given: argparse.Namespace) -> "tuple[Bench, Generator, dict[str, float]]":
    """Train, or go on; return what was measured with, the generator and `run`'s figures."""
    settings = _settings(given)
    end = datetime.fromtimestamp(settings.world.history.end_timestamp, UTC)
    workspace = Workspace(settings, now=lambda: end)  # the clock decides nothing: a night is the same on every day
    with workspace.only_night():
        bench = _open(
            workspace, QUICK_ESTIMATOR if given.quick else EstimatorOptions(), _operating_point(given, settings)
        )
        bench = replace(bench, with_kid=given.kid)
        print(bench.introduction(), flush=True)
        spec = spec_to_train(workspace, bench.data, bench.start)
        pairs = training_pairs(workspace, bench.data, bench.basis_folder, spec)
        curve = Curve(bench.folder / "curve.json")

        def on_snapshot(average: Generator, kimg: float) -> Row:
            minutes = curve.stop(kimg)
            row = curve.add({"kimg": kimg} | minutes | bench.measure(average, name=f"{kimg:09.3f}-kimg"))
            print(line(row), flush=True)
            curve.start()
            return {}

        print(_HEADER, flush=True)
        curve.start()
        result = train(
            Job(pairs, spec, settings.model, settings.train),
            folder=bench.folder / "train",
            warm_start=lambda state: start_from(bench.start, state) if bench.start else None,
            on_snapshot=on_snapshot,
        )
        newest = curve.newest
        if newest is None:  # trained before: only what is measured can be new
            newest = curve.rows[-1] | bench.measure(result.generator, name="again")
            print(line(newest), flush=True)
    return bench, result.generator, newest | bench.facts


@dataclass(frozen=True)
class Bench:
    """What every snapshot is measured with."""

    workspace: Workspace
    data: NightData
    yardstick: PlantedYardstick
    estimator: AttributeEstimator
    warm: PreferenceTable
    cold: PreferenceTable
    operating_point: OperatingPoint
    basis_folder: Path
    folder: Path
    """Curve, sheets and checkpoint."""
    start: Path | None = None
    """The snapshot that training starts from; None is from scratch."""
    with_kid: bool = False
    """Whether warm people's pictures are compared with the catalogue's by the judge's net, too."""

    def measure(self, generator: Generator, *, name: str) -> Row:
        """Return the figures of a generator; a contact sheet is left in the folder."""
        options = self.workspace.settings.evaluation
        images, cold_images = self.drawn(generator)
        rows = [
            replace(row, generated=list(images[k * options.images_per_user :][: options.images_per_user]))
            for k, row in enumerate(self.sheet_rows)
        ]
        write_png(self.folder / f"{name}.png", contact_sheet(rows, scale=2, header=("liked", "drawn")))
        point = {"truncation_psi": self.operating_point.truncation_psi, "guidance": self.operating_point.guidance}
        found: Row = {}
        if self.with_kid:
            people = np.repeat(np.arange(len(self.warm.user_ids)), options.images_per_user)
            distance = kid(self.catalogue_features, judge_features(images, batch_size=128), groups=people)
            found = {"kid": distance.value, "kid_low": distance.low, "kid_high": distance.high}
        return self.yardstick.measure(images, cold_images, options=options).metrics() | point | found

    def drawn(self, generator: Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the pictures of warm and of cold people, user by user."""
        sampler = Sampler(generator, device=next(generator.parameters()).device, operating_point=self.operating_point)
        per_user = self.workspace.settings.evaluation.images_per_user
        return draw(sampler, [self.warm] * per_user), draw(sampler, [self.cold] * per_user)

    @cached_property
    def catalogue_features(self) -> NDArray[np.float32]:
        """What the judge's net sees in the catalogue's pictures."""
        return judge_features(np.array(self.data.prepared.images), batch_size=128)

    @cached_property
    def sheet_rows(self) -> list[SheetRow]:
        """Rows of the first warm people without generated pictures."""
        earlier, images = self.data.earlier_history(), np.asarray(self.data.prepared.images)
        likes = earlier.where(earlier.weight > 0)
        place = {user_id: k for k, user_id in enumerate(likes.user_ids)}
        rows, people = [], self.yardstick.warm
        for user_id, taste in list(zip(people.user_ids, people.tastes, strict=True))[:_SHEET_USERS]:
            liked = likes.item_index[likes.user_index == place[user_id]][-_SHEET_LIKES:]
            rows.append(SheetRow(taste_in_words(taste, self.estimator.space), list(images[liked]), []))
        return rows

    @cached_property
    def facts(self) -> Row:
        """How well the estimator reads fresh renders and the catalogue, as flat figures."""
        fresh, catalogue = self.estimator.error, _catalogue_error(self.data, self.yardstick.world, self.estimator)
        errors = {f"estimator_{name}": value for name, value in fresh.metrics().items()}
        return errors | {f"estimator_catalogue_{name}": value for name, value in catalogue.items()}

    def introduction(self) -> str:
        """Return who is measured, and how well pictures are read."""
        errors = ", ".join(f"{name} {value:.4g}" for name, value in self.facts.items())
        people = f"{len(self.warm.user_ids)} warm and {len(self.cold.user_ids)} cold people, never trained on"
        return f"{self.folder}\n{people}; {errors}"


class Curve:
    """The measurements of one training, kept in a file, and the clocks of the time between them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = read_json(path) if path.is_file() else []
        self.newest: Row | None = None
        """The last row of this run."""
        self._started = (0.0, 0.0)

    def start(self) -> None:
        """Start the clocks."""
        self._started = (time.monotonic(), time.process_time())

    def stop(self, kimg: float) -> Row:
        """Return the minutes of training up to now, former runs included, and the speed since the row before.

        Rows from `kimg` on are dropped: a run that was killed before its checkpoint repeats them.
        """
        wall_sec, cpu_sec = time.monotonic() - self._started[0], time.process_time() - self._started[1]
        self.rows = [row for row in self.rows if row["kimg"] < kimg]
        before = self.rows[-1] if self.rows else {"kimg": 0.0, "train_wall_minutes": 0.0, "train_cpu_minutes": 0.0}
        return {
            "train_wall_minutes": before["train_wall_minutes"] + wall_sec / 60,
            "train_cpu_minutes": before["train_cpu_minutes"] + cpu_sec / 60,
            "img_per_sec": 1000 * (kimg - before["kimg"]) / max(wall_sec, 1e-9),
        }

    def add(self, row: Row) -> Row:
        """Keep a row; return it."""
        self.rows.append(row)
        write_json(self.path, self.rows)
        self.newest = row
        return row


def line(row: Row) -> str:
    """Return one measurement as a line under the header; what is missing is a dash."""
    warm, low, high = (row.get(f"warm_gain_over_real_gain{end}") for end in ("", "_low", "_high"))
    interval = "–" if warm is None else f"{warm:6.3f} [{low:6.3f}, {high:6.3f}]"
    cold = row.get("cold_gain_over_real_gain")
    return (
        f"{row['kimg']:8.2f}  {row['train_cpu_minutes']:8.2f}  {row['train_wall_minutes']:8.2f}  "
        f"{row['img_per_sec']:6.1f}   {interval:<24}  {'–' if cold is None else f'{cold:.3f}':>8}  "
        f"{row['category_sure_share']:10.3f}  {format(row['kid'], '6.3f') if 'kid' in row else '     –'}"
    )


def _open(workspace: Workspace, options: EstimatorOptions, operating_point: OperatingPoint) -> Bench:
    """Return the bench of a home: its night, prepared and embedded, its estimator and its held-out people."""
    settings = workspace.settings
    world = find_attribute_world(settings.world.name)
    night = prepare(workspace)
    embedded = embed(workspace, night, recommend(workspace, night))
    data = NightData.of(workspace, night)
    table = preferences(night, embedded, embedded.train_basis, held_back=True)
    history = data.history
    held_out = (history.weight > 0) & data.later & ~data.train_items[history.item_index]
    selection = select_planted(
        judged_users=data.judged_users,
        n_events=table.n_events,
        held_out_likes=(history.user_index[held_out], history.item_index[held_out]),
        n_items=len(history.item_ids),
        most_users=settings.evaluation.n_users,
    )
    everybody = world.sample_users(settings.world.history.n_users, settings.world.history.seed)
    warm, cold = table.rows(selection.warm), table.rows(selection.cold)
    estimator = cached_estimator(
        workspace.data / "estimator", world, image_px=settings.model.resolution, options=options
    )
    real = _real_scores(data, world, estimator, everybody.take(warm.user_ids), selection.held_out_likes)
    yardstick = PlantedYardstick(
        world, estimator, warm=everybody.take(warm.user_ids), cold=everybody.take(cold.user_ids), real_scores=real
    )
    return Bench(
        workspace=workspace,
        data=data,
        yardstick=yardstick,
        estimator=estimator,
        warm=warm,
        cold=cold,
        operating_point=operating_point,
        basis_folder=embedded.folder(night, embedded.train_basis),
        folder=settings.root / "world" / night.key[:12],
        start=Path(embedded.start) if embedded.start else None,
    )


def _real_scores(
    data: NightData, world: AttributeWorld, estimator: AttributeEstimator, users: PlantedUsers, likes: csr_array
) -> NDArray[np.float64]:
    """Return (n_users, n_users) true utilities of held-out real likes, read as generated pictures are."""
    shown = estimator.read(np.asarray(data.prepared.images))
    return true_utility_scores(world, users, shown, pictures_of_users=likes)


def _catalogue_error(data: NightData, world: AttributeWorld, estimator: AttributeEstimator) -> Row:
    """Return how well the catalogue's pictures are read as the night prepared them: none of them was learnt from."""
    place = {item_id: k for k, item_id in enumerate(data.history.item_ids)}
    rows = [place[item_id] for item_id in world.items().item_ids]
    read = estimator.read(np.asarray(data.prepared.images)[rows])
    return reading_error(read, known_attributes(world.items(), world.space)).metrics()


def _settings(given: argparse.Namespace) -> Settings:
    config = given.config or (QUICK_CONFIG if given.quick else CONFIG)
    limit = [f"train.max_minutes={given.max_minutes}"] if given.max_minutes else []
    return load_settings(config, [f"home={given.home}", *given.set, *limit])


def _operating_point(given: argparse.Namespace, settings: Settings) -> OperatingPoint:
    """Return the settings' point with what the options say instead."""
    point = settings.generation.operating_point
    return OperatingPoint(
        guidance=point.guidance if given.guidance is None else given.guidance,
        truncation_psi=point.truncation_psi if given.truncation_psi is None else given.truncation_psi,
        strengths=point.strengths,
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.world", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "world", help="folder to go on from, or to make")
    parser.add_argument("--config", type=Path, help="TOML file with settings (configs/shapes.toml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="wins over the file")
    parser.add_argument("--max-minutes", type=float, default=0.0, help="end this slice after so much wall time")
    parser.add_argument("--truncation-psi", type=float, help="factor on z of the pictures that are measured")
    parser.add_argument("--guidance", type=float, help="guidance of the pictures that are measured")
    parser.add_argument("--kid", action="store_true", help="measure KID to the catalogue's pictures, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the newest figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
