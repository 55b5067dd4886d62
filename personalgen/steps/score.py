"""Scores tonight's new images: how much each is to its person's taste and not to everybody's, as judge A sees it.

It comes after the release, since nobody waits for it. Scores are written page by page, so that a killed stage goes on
where it stopped. `evaluation/tastes.py` says what a score means.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.catalogue import daily, scores, write
from personalgen.catalogue.engine import analyze
from personalgen.catalogue.scopes import AssetFilter
from personalgen.catalogue.scores import UnscoredAsset
from personalgen.embeddings import like_weights
from personalgen.errors import ArtifactError, DataError
from personalgen.evaluation import ContentJudge, Pictures, judge_features, reference_items
from personalgen.evaluation.tastes import Tastes
from personalgen.generation.encoders import decode
from personalgen.generation.shards import read_members
from personalgen.registry.run import Run
from personalgen.steps.data import NightData
from personalgen.steps.night import Night, run_stage
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import judged_rows
from personalgen.tables.split import JUDGE
from personalgen.training.trainer import pick_device

_CHUNK_ITEMS = 16_384
"""Items whose features are whitened at a time, in float64."""


@dataclass(frozen=True)
class Scored:
    """What the judge said of tonight's images."""

    stage: ClassVar[str] = "score"

    n_scored: int
    """Images of tonight with a score."""
    mean: float | None
    """Their mean score; None where there is none."""
    n_without_likes: int
    """Images of people of whom no like is known, which nothing can be compared with."""
    n_unreadable: int
    """Images whose bytes are missing or damaged: see `personalgen repair --dry-run`."""
    judge: str
    """Which judge; empty where nothing was scored."""
    missing: str
    """Why nothing was scored; else empty."""


def score(workspace: Workspace, night: Night) -> Scored:
    """Return what was scored of tonight's images, those of a canary too.

    With too little data to judge by nothing is scored, which is no error.
    """
    return run_stage(workspace, night, Scored, lambda run: _score(workspace, night, run))


def _score(workspace: Workspace, night: Night, run: Run) -> Scored:
    if workspace.settings.score.most == 0:
        return _nothing("score.images is none")
    made = daily.stats(workspace.engine, AssetFilter(night_id=night.night_id), by=())
    if not any(sums.n_images for sums in made):
        return _nothing("no image was made tonight")
    try:
        data = NightData.of(workspace, night)
        tastes = _tastes(workspace, data)
    except DataError as error:
        return _nothing(str(error))
    n_without, n_unreadable = _score_pages(workspace, night, data, tastes)
    analyze(workspace.engine)
    n_scored, mean = scores.scores_of_night(workspace.engine, night.night_id)
    run.set_tags({"judge": tastes.judge.name})
    return Scored(n_scored, mean, n_without, n_unreadable, tastes.judge.name, "")


def _nothing(why: str) -> Scored:
    return Scored(0, None, 0, 0, "", why)


def _score_pages(workspace: Workspace, night: Night, data: NightData, tastes: Tastes) -> tuple[int, int]:
    """Score and write page by page; return how many images have no likes to be scored by, and how many no bytes."""
    user_of = _places_of_keys(workspace, night, data)
    report, done, n_without, n_unreadable = workspace.report("score"), 0, 0, 0
    for page in scores.unscored(workspace.engine, night.night_id, most=workspace.settings.score.most):
        places = np.array([user_of.get(one.user_key, -1) for one in page], dtype=np.int64)
        known = (places >= 0) & tastes.known[places]
        asked = [one for one, is_known in zip(page, known.tolist(), strict=True) if is_known]
        read = dict(_pixels(workspace, asked))
        if read:
            users = places[[one in read for one in page]]
            values = tastes.score(_seen(workspace, np.stack(list(read.values()))), users)
            pairs = [(one.asset_id, value) for one, value in zip(read, values.tolist(), strict=True)]
            scores.record_scores(workspace.engine, pairs)
        n_without, n_unreadable = n_without + len(page) - len(asked), n_unreadable + len(asked) - len(read)
        done += len(page)
        report(done, 0)
    return n_without, n_unreadable


def _tastes(workspace: Workspace, data: NightData) -> Tastes:
    """Return what everybody liked, as the judge of tonight's evaluation sees it.

    Raises:
        DataError: there are too few items to fit the judge, or too few people with likes.
    """
    options, likes = workspace.settings.evaluation, data.history.where(data.history.weight > 0)
    reference = np.sort(reference_items(data.item_split, options))
    fitted_on = reference[data.item_split[reference] == JUDGE]
    judge = ContentJudge(dims=options.judge_dims).fit(Pictures(judged_rows(workspace, data, fitted_on)))
    items = np.unique(likes.item_index)
    weights = like_weights(likes, workspace.settings.embeddings.half_life_days)
    place = np.searchsorted(items, likes.item_index)
    user_items = csr_array((weights, (likes.user_index, place)), shape=(len(likes.user_ids), len(items)))
    features = judged_rows(workspace, data, items)
    parts = (features[start : start + _CHUNK_ITEMS] for start in range(0, len(items), _CHUNK_ITEMS))
    return Tastes.of(judge, parts, user_items)


def _places_of_keys(workspace: Workspace, night: Night, data: NightData) -> dict[int, int]:
    """Return the place in tonight's history of each person, by key."""
    keys = write.allocate_user_keys(workspace.engine, data.history.user_ids, night_id=night.night_id)
    return {key: place for place, key in enumerate(keys.tolist())}


def _pixels(workspace: Workspace, assets: Sequence[UnscoredAsset]) -> Iterator[tuple[UnscoredAsset, NDArray[np.uint8]]]:
    """Yield the images whose shard holds the catalogued bytes; of the others it is said why they are left out."""
    for path, found in groupby(assets, key=lambda one: one.shard_path):
        own = list(found)
        try:
            members = read_members(
                workspace.shard_root, path, [(one.shard_offset, one.byte_length, one.crc32) for one in own]
            )
        except ArtifactError as error:
            logging.getLogger(__name__).warning("%d images are not scored: %s", len(own), error)
            continue
        yield from zip(own, map(decode, members), strict=True)


def _seen(workspace: Workspace, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the judge's features of images, on the device that trains."""
    options, device = workspace.settings.evaluation, pick_device(workspace.settings.train.device)
    return judge_features(
        images, px=options.feature_px, batch_size=options.batch_size, threads=options.threads, device=str(device)
    )
