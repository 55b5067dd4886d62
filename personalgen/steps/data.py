"""What several stages read of a night: its history as arrays, what is held out, and the items' content features."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, digest_of
from personalgen.config import SplitOptions
from personalgen.embeddings import EmbeddingOptions, label_values
from personalgen.embeddings.basis import encoder_name
from personalgen.histories import History
from personalgen.steps.features import content_features
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace
from personalgen.tables import TRAIN, Prepared, item_splits, later_events, load_prepared, user_splits

_KEPT_CATALOGUES = 4
"""Files of features for a catalogue as a whole; rows of items are kept beside them for ever."""
SEEN = np.int8(-1)
"""Stands in `NightData.item_split` for items that are held out by their id, but not by their picture."""


@dataclass(frozen=True)
class NightData:
    """Tonight's tables with their splits; `history` covers every user who may get an image, with or without events."""

    prepared: Prepared
    split: SplitOptions

    @classmethod
    def of(cls, workspace: Workspace, night: Night) -> "NightData":
        """Return the data of a prepared night."""
        return cls(load_prepared(night.prepared), workspace.settings.split)

    @cached_property
    def history(self) -> History:
        """Valid interactions of users who may get images: not opted out and, where there is a users table, in it."""
        events, users = self.prepared.interactions(), self.prepared.users
        segment_of = dict(zip(users["user_id"], users["segment"], strict=True))
        user_ids = sorted(users["user_id"][~users["opted_out"].astype(bool)])
        place = {user_id: k for k, user_id in enumerate(user_ids)}
        of_event = np.array([place.get(user_id, -1) for user_id in events.user_ids], dtype=np.int64)[events.user_index]
        kept = of_event >= 0
        return History(
            tuple(user_ids),
            tuple(events.item_ids),
            of_event[kept],
            events.item_index[kept].astype(np.int64),
            events.timestamp[kept],
            events.weight[kept],
            tuple(segment_of[user_id] or None for user_id in user_ids),
        )

    @cached_property
    def item_split(self) -> NDArray[np.int8]:
        """(n_items,) codes: 0 train, 1 judge, 2 test, SEEN for a held-out item with a picture of an earlier split.

        Two items may share a photo. Such a one is neither trained on nor evaluated: its picture is not new.
        """
        split = np.asarray(item_splits(self.history.item_ids), dtype=np.int8)
        pictures = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.prepared.images]
        earliest: dict[bytes, int] = {}
        for picture, code in zip(pictures, split.tolist(), strict=True):
            earliest[picture] = min(code, earliest.get(picture, code))
        return np.where([earliest[p] < code for p, code in zip(pictures, split, strict=True)], SEEN, split)

    @cached_property
    def later(self) -> NDArray[np.bool_]:
        """(n_events,) True for the last share of each user's events, which training never sees."""
        return np.asarray(
            later_events(self.history.user_index, self.history.timestamp, self.split.later_share), dtype=np.bool_
        )

    @property
    def train_items(self) -> NDArray[np.bool_]:
        """(n_items,) True where the item's picture may be trained on."""
        return np.asarray(self.item_split == TRAIN, dtype=np.bool_)

    @cached_property
    def user_split(self) -> NDArray[np.int8]:
        """(n_users,) codes: 0 train, 1 judge, 2 test; all 0 where nobody is held out."""
        codes = np.asarray(user_splits(self.history.user_ids), dtype=np.int8)
        return codes if self.split.hold_out_users else np.zeros_like(codes)

    @property
    def train_users(self) -> NDArray[np.bool_]:
        """(n_users,) True for users whose history may be trained on; the others are evaluated."""
        return np.asarray(self.user_split == TRAIN, dtype=np.bool_)

    @property
    def judged_users(self) -> NDArray[np.bool_]:
        """(n_users,) True for users who may be evaluated: those not trained on, or all where nobody is held out."""
        return ~self.train_users | (not self.split.hold_out_users)

    def earlier_history(self) -> History:
        """Return earlier events on training items: all that the condition of an evaluated user may know."""
        return self.history.where(~self.later & self.train_items[self.history.item_index])

    def training_history(self) -> History:
        """Return the earlier history of users of the training split: all that training may know."""
        earlier = self.earlier_history()
        return earlier.where(self.train_users[earlier.user_index])

    def tonight(self) -> NDArray[np.int64]:
        """Return as_of, in seconds since 1970, for each user."""
        return np.full(len(self.history.user_ids), int(self.prepared.tables.as_of.timestamp()), dtype=np.int64)

    def held_back_from(self) -> NDArray[np.int64]:
        """Return when each user's later events begin, in seconds since 1970; as_of where there are none."""
        history, found = self.history, self.tonight()
        np.minimum.at(found, history.user_index[self.later], history.timestamp[self.later])
        return found

    @cached_property
    def texts(self) -> list[str]:
        """Title and text of every item, empty where it has neither."""
        items = self.prepared.items
        pairs = zip(items["title"], items["text"], strict=True)
        return [" ".join(text for text in pair if isinstance(text, str)) for pair in pairs]

    @cached_property
    def labels(self) -> list[tuple[str, ...]]:
        """The labels of every item as "column=value"."""
        return [label_values(json.loads(cells)) for cells in self.prepared.items["labels"]]

    def features(self, workspace: Workspace, options: EmbeddingOptions) -> NDArray[np.float32]:
        """Return (n_items, 1280 + text columns) content features, computed once for each picture and text."""
        features: NDArray[np.float32] = np.load(self.features_file(workspace, options), allow_pickle=False)
        return features

    def features_file(self, workspace: Workspace, options: EmbeddingOptions) -> Path:
        """Return the file with the content features of tonight's items, after making it where it is not there yet."""
        pictures_sha256, folder = list(self.prepared.items["image_sha256"]), workspace.data / "features"
        name = digest_of([encoder_name(options), self.prepared.images.shape[1], pictures_sha256, self.texts])
        path = folder / f"{name}.npy"
        if not path.is_file():
            images, report = self.prepared.images, workspace.report
            save_array(path, content_features(folder, images, pictures_sha256, self.texts, options, report))
            for old in sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime)[:-_KEPT_CATALOGUES]:
                old.unlink()
        return path


def save_array(path: Path, matrix: NDArray[np.float32]) -> None:
    """Write an array atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, matrix, allow_pickle=False)
