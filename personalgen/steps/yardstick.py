"""Tonight's yardstick: held-out people and items as judges see them, and pictures drawn for these people."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from personalgen.artifacts import digest_of
from personalgen.embeddings import PreferenceTable, like_weights
from personalgen.evaluation import (
    FEATURE_DIM,
    JUDGE_NET,
    Pictures,
    Selection,
    TrainingSide,
    Yardstick,
    build_yardstick,
    judge_features,
    select_held_out,
)
from personalgen.generation.options import OperatingPoint
from personalgen.generation.sampler import Sampler
from personalgen.models import load_generator
from personalgen.seeding import derive_seed
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.features import cached_rows
from personalgen.steps.night import Night
from personalgen.steps.told import told_of
from personalgen.steps.workspace import Workspace

_TRAINING_ITEMS = 4


def yardstick_of(workspace: Workspace, data: NightData, users: NDArray[np.bool_] | None = None) -> Yardstick:
    """Return the held-out items, judged by nets that training never saw, and the users to judge for.

    `users` (n_users,) marks who may be evaluated, by default those whom training never saw.
    """
    options, selection = workspace.settings.evaluation, held_out(workspace, data, users)
    items, training = judged_items(workspace, data, selection.item_index), training_side(workspace, data, selection)
    return build_yardstick(selection, items, options=options, training=training)


def held_out(workspace: Workspace, data: NightData, users: NDArray[np.bool_] | None = None) -> Selection:
    """Return the held-out items that models are measured on tonight, and the users among `users` (n_users,)."""
    history = data.history
    return select_held_out(
        user_ids=history.user_ids,
        judged_users=data.judged_users if users is None else users,
        user_split=data.user_split,
        item_split=data.item_split,
        user_index=history.user_index,
        item_index=history.item_index,
        weight=history.weight,
        later=data.later,
        options=workspace.settings.evaluation,
    )


def training_side(workspace: Workspace, data: NightData, selection: Selection) -> TrainingSide:
    """Return what training knew: its pictures, at most 4 x `evaluation.max_items`, and what these users liked."""
    options, earlier = workspace.settings.evaluation, data.earlier_history().of(selection.user_index)
    likes = earlier.where(earlier.weight > 0)
    drawn = np.random.default_rng(options.seed).permutation(np.flatnonzero(data.train_items))
    drawn = drawn[: _TRAINING_ITEMS * options.max_items]
    rows = np.union1d(drawn, likes.item_index).astype(np.int64)
    weights = like_weights(likes, workspace.settings.embeddings.half_life_days)
    place = np.searchsorted(rows, likes.item_index)
    history = coo_array((weights, (likes.user_index, place)), shape=(len(likes.user_ids), len(rows))).tocsr()
    return TrainingSide(judged_items(workspace, data, rows), history)


def judged_items(workspace: Workspace, data: NightData, rows: NDArray[np.int64]) -> Pictures:
    """Return some items as judges see them."""
    return Pictures(judged_rows(workspace, data, rows), np.asarray(data.prepared.images)[rows])


def judged_rows(workspace: Workspace, data: NightData, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the judge's features of some items; its net looks at each picture once, whatever night asks."""
    images, options = np.asarray(data.prepared.images), workspace.settings.evaluation
    name = digest_of([JUDGE_NET, options.feature_px, images.shape[1:]])[:16]
    digests = list(data.prepared.items["image_sha256"])

    def look(places: NDArray[np.int64]) -> NDArray[np.float32]:
        return _judged(workspace, images[rows[places]])

    keys = [digests[row] for row in rows.tolist()]
    return cached_rows(workspace.data / "features" / f"judged-{name}", keys, FEATURE_DIM, look)


def pictures_of(
    workspace: Workspace,
    night: Night,
    embedded: Embedded,
    folder: Path,
    yardstick: Yardstick,
    *,
    point: OperatingPoint | None = None,
) -> Pictures:
    """Return (n_users, k, d) judge features and (n_users, k, R, R, 3) pixels of a model's pictures for held-out users.

    Models share users and z.
    """
    users, k = yardstick.selection.user_index, workspace.settings.evaluation.images_per_user
    images = draw_held_out(workspace, night, embedded, folder, users, per_user=k, point=point)
    return judged_pictures(workspace, images, k)


def draw_held_out(
    workspace: Workspace,
    night: Night,
    embedded: Embedded,
    folder: Path,
    users: NDArray[np.int64],
    *,
    per_user: int,
    point: OperatingPoint | None = None,
) -> NDArray[np.uint8]:
    """Return (n_users * per_user, R, R, 3) pictures of a model for people who are held out, told as nights tell it.

    Each model is told what its own specification asks for, of earlier events alone, at `point`, by default that of the
    settings, as far as it has the fields.
    """
    generator, _ = load_generator(folder)
    told = told_of(workspace, night, embedded, folder, held_back=True)
    point = (point or workspace.settings.generation.operating_point).among(generator.spec.names)
    return draw(Sampler(generator, operating_point=point), [told(users, variant) for variant in range(per_user)])


def judged_pictures(workspace: Workspace, images: NDArray[np.uint8], per_user: int) -> Pictures:
    """Return generated pictures, which come user by user, with the judge's features of them."""
    features = _judged(workspace, images)
    return Pictures(features.reshape(-1, per_user, features.shape[-1]), images.reshape(-1, per_user, *images.shape[1:]))


def draw(sampler: Sampler, tables: Sequence[PreferenceTable]) -> NDArray[np.uint8]:
    """Return (n_users * k, R, R, 3) pictures, the first k variants of each user; table v tells of variant v."""
    told = PreferenceTable.side_by_side(tables)
    seeds = [derive_seed(user_id, variant) for user_id in tables[0].user_ids for variant in range(len(tables))]
    return sampler.sample(told.to_condition(sampler.generator.spec), seeds)


def _judged(workspace: Workspace, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    options = workspace.settings.evaluation
    report, done = workspace.report("judge features"), [0]

    def progress(_stage: str, count: int) -> None:
        done[0] += count
        report(done[0], len(images))

    return judge_features(
        images, px=options.feature_px, batch_size=options.batch_size, threads=options.threads, progress=progress
    )
