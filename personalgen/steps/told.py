"""What a model is told of users, image by image: of all they did, and of each further image of some of their likes.

One vector of everything draws one taste again and again. Told of a few likes each, a person's images differ as the
likes do, and cover the several interests that there may be.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings import Basis, Foresight, PreferenceTable, embed_by_items, load_basis, part_of_likes
from personalgen.embeddings.basis import Matrix
from personalgen.embeddings.fields import EXPECTED
from personalgen.embeddings.rated import RatedPictures
from personalgen.histories import History
from personalgen.recommenders.by_size import NextItemModel, next_item_model
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded, preferences_for, recommender_of
from personalgen.steps.night import Night
from personalgen.steps.preferences import basis_folder
from personalgen.steps.rated import rated_in
from personalgen.steps.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Parts:
    """What is known of people from some of their likes."""

    history: History
    now: NDArray[np.int64]
    """(n_users,) when each of them is asked about, in seconds since 1970."""
    basis: Basis
    items: Matrix
    """(n_items, dim) in the basis."""
    recommender: NextItemModel | None
    """Foretells what is expected of people, where that is asked."""
    count: int
    """Likes of each image."""
    rated: RatedPictures | None = None
    """What people said of their own pictures, which every image hears."""

    @cached_property
    def _place(self) -> dict[str, int]:
        return {user_id: k for k, user_id in enumerate(self.history.user_ids)}

    def table(self, like: PreferenceTable, variant: int) -> PreferenceTable:
        """Return what is known for the image `variant` of the users of a table, with the same fields."""
        users = np.array([self._place[user_id] for user_id in like.user_ids], dtype=np.int64)
        half_life = self.basis.options.half_life_days
        part = part_of_likes(self.history.of(users), self.count, variant, half_life_days=half_life)
        asked = {name: rows.values.shape[1] if rows.values.ndim > 2 else 1 for name, rows in like.fields.items()}
        foresight = Foresight.by(self.recommender, len(users)) if self.recommender else None
        return embed_by_items(
            part, self.basis, self.items, asked, now=self.now[users], foresight=foresight, rated=self.rated
        )


@dataclass(frozen=True, eq=False)
class Told:
    """What a model is told of users for their first image, and for each further one."""

    table: PreferenceTable
    """Of everything: for first images, and for all where there are no parts."""
    parts: Parts | None

    def __call__(self, rows: NDArray[np.int64], variant: int) -> PreferenceTable:
        """Return what is told for the image `variant` of the users at `rows` of the table, in this order."""
        whole = self.table.rows(rows)
        return whole if variant == 0 or self.parts is None else self.parts.table(whole, variant)


def told_of(workspace: Workspace, night: Night, embedded: Embedded, model: Path, *, held_back: bool = False) -> Told:
    """Return what the generator in the folder `model` is told of users tonight; held back, of earlier events alone.

    Where users keep what the night before knew of them, every image is told of that. An evaluation, which draws more
    images than nights may, tells of some of the likes where nights do.
    """
    table = preferences_for(workspace, night, embedded, model, held_back=held_back)
    if embedded.fell_back and not held_back:
        return Told(table, None)
    return told_by(workspace, night, table, model, held_back=held_back)


def told_by(
    workspace: Workspace, night: Night, table: PreferenceTable, model: Path, *, held_back: bool = False
) -> Told:
    """Return what the generator in the folder `model` is told of the users of a table, made of a night's histories."""
    options = workspace.settings.generation
    count = options.likes_per_image if options.variants > 1 else 0
    if not count:
        return Told(table, None)
    data, basis = NightData.of(workspace, night), load_basis(model)
    history, now = (data.earlier_history(), data.held_back_from()) if held_back else (data.history, data.tonight())
    recommender = None
    if EXPECTED in table.fields:
        learnt = data.training_history() if held_back else history
        recommender = next_item_model(learnt, recommender_of(workspace, model))
    items = basis.item_vectors(data.features(workspace, basis.options), history.item_ids)
    rated = None if held_back else rated_in(basis_folder(night, basis.version))
    return Told(table, Parts(history, now, basis, items, recommender, count, rated))
