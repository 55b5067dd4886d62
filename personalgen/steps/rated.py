"""What people said of the pictures made for them, as tonight's vectors hear it; what a night read is kept with it."""

import logging
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, digest_of
from personalgen.catalogue.ratings import OwnRating, own_ratings
from personalgen.embeddings import Basis, image_features
from personalgen.embeddings.content import CONTENT_ENCODER, FEATURE_DIM
from personalgen.embeddings.rated import RatedPictures, load_rated, picture_vectors, rating_weights, save_rated
from personalgen.errors import ArtifactError
from personalgen.generation.encoders import decode
from personalgen.generation.shards import read_members
from personalgen.steps.features import Matrix, cached_rows
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace

RATED, FEATURES = "rated.parquet", "rated-"
"""Beside the preferences of a basis; and how the folder of rated pictures' features begins, below data/features."""
_RATINGS = "ratings.parquet"
_CHUNK = 1024


def write_rated(workspace: Workspace, night: Night, folder: Path, basis: Basis) -> str:
    """Write tonight's ratings in a basis; return the file, "" where there is none or they are left out.

    The folder is the basis's of the night. Every basis of a night hears the same ratings, also those of before as_of
    that came in meanwhile.
    """
    factor = workspace.settings.embeddings.ratings
    told = _ratings_of(workspace, night) if factor else ()
    if not told:
        (folder / RATED).unlink(missing_ok=True)
        return ""
    features = _features(workspace, told, basis.options.feature_px)
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=1))
    ids = [one.user_id for one in told]
    user = np.unique(ids, return_inverse=True)[1]
    rated = RatedPictures(
        tuple(ids),
        np.array([one.asset_id for one in told], dtype=np.int64),
        np.array([int(one.at.timestamp()) for one in told], dtype=np.int64),
        factor * rating_weights(user, np.array([one.value for one in told])),
        picture_vectors(basis, np.where(whole[:, None], features, 0)),
    )
    return str(save_rated(folder / RATED, rated.of(np.flatnonzero(whole))))


def rated_in(folder: Path) -> RatedPictures | None:
    """Return the ratings beside the preferences in a folder, None where there are none."""
    return load_rated(folder / RATED) if (folder / RATED).is_file() else None


def _ratings_of(workspace: Workspace, night: Night) -> tuple[OwnRating, ...]:
    """Return the ratings that the night knows: those of its first look."""
    path = night.path / "embed" / _RATINGS
    found = own_ratings(workspace.engine, before=datetime.fromisoformat(night.as_of))
    if path.is_file():
        known = pq.read_table(path)
        values = dict(zip(known["asset_id"].to_pylist(), known["value"].to_pylist(), strict=True))
        return tuple(one._replace(value=values[one.asset_id]) for one in found if one.asset_id in values)
    columns = {name: [getattr(one, name) for one in found] for name in ("user_id", "asset_id", "value")}
    types = {"user_id": pa.string(), "asset_id": pa.int64(), "value": pa.float64()}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({name: pa.array(column, types[name]) for name, column in columns.items()}), temporary)
    return found


def _features(workspace: Workspace, told: tuple[OwnRating, ...], feature_px: int) -> Matrix:
    """Return (n, 1280) content features of rated pictures, each looked at until it was read; NaN of one that cannot be.

    A picture is known by its checksum beside its number: a catalogue from an older backup gives the number again.
    """

    def look(rows: NDArray[np.int64]) -> Matrix:
        found = np.full((len(rows), FEATURE_DIM), np.nan, dtype=np.float32)
        for start in range(0, len(rows), _CHUNK):
            images = {k: _pixels(workspace, told[row]) for k, row in enumerate(rows[start : start + _CHUNK].tolist())}
            there = {start + k: image for k, image in images.items() if image is not None}
            if there:
                found[list(there)] = image_features(np.stack(list(there.values())), feature_px=feature_px)
        return found

    folder = workspace.data / "features" / f"{FEATURES}{digest_of([CONTENT_ENCODER, feature_px])[:16]}"
    return cached_rows(folder, [f"{one.asset_id}-{one.crc32:08x}" for one in told], FEATURE_DIM, look)


def _pixels(workspace: Workspace, one: OwnRating) -> NDArray[np.uint8] | None:
    """Return a rated picture, None where its bytes are missing or damaged."""
    try:
        place = (one.shard_offset, one.byte_length, one.crc32)
        return decode(read_members(workspace.shard_root, one.shard_path, [place])[0])
    except ArtifactError as error:
        logging.getLogger(__name__).warning("the rating of asset %d is left out: %s", one.asset_id, error)
        return None
