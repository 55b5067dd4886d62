"""What a person's likes, in their order, say of the next ones: the linear next-item model's vector, on a frozen basis.

The model behind `expected` is fitted anew every night. These maps are fitted with the basis and frozen with it, so that
an unchanged user has the same vector every night.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix, UserMaps, fit_factor_map
from personalgen.embeddings.fields import COLLABORATIVE, FieldRows
from personalgen.errors import ConfigError
from personalgen.histories import History
from personalgen.recommenders.base import decayed_rows, likes_of
from personalgen.recommenders.by_size import user_maps
from personalgen.recommenders.statistics import NextItemOptions

_CHUNK = 1 << 16


def fit_maps(likes: History, content: Matrix, known: NDArray[np.int64], options: NextItemOptions, dim: int) -> UserMaps:
    """Return the maps of the next-item model that is fitted on these likes.

    The items in `known` keep the rows that were learned; those of others follow from (n_items, content_dim) `content`,
    rows of unit length.
    """
    learned = np.concatenate(user_maps(likes, options, dim), axis=1)[known]
    length = np.float32(np.sqrt(content.shape[1]))  # that of whitened content, which the ridge is made for
    plain = UserMaps(
        half_life=options.half_life,
        window=options.window,
        of_items=learned,
        of_content=length * fit_factor_map(length * content[known], learned),
        center=np.zeros(dim, dtype=np.float32),
        scale=np.ones(1, dtype=np.float32),
    )
    place = np.full(len(content), -1)
    place[known] = np.arange(len(known))
    people = _vectors(likes, plain, plain.rows(content, place), likes.bounds[:-1], likes.bounds[1:])
    vectors = people.values[people.mask].astype(np.float64)
    scale = max(float(np.sqrt(vectors.var(0).mean())), 1e-6)
    return replace(plain, center=vectors.mean(0).astype(np.float32), scale=np.full(1, scale, dtype=np.float32))


def collaborative_known(
    history: History, basis: Basis, items: Matrix, start: NDArray[np.int64], stop: NDArray[np.int64]
) -> FieldRows:
    """Return the vectors of the events [start, stop) of one user each, (n, next_item_dim), absent without a like.

    Over the people who fitted the basis they have zero mean and unit variance.

    Raises:
        ConfigError: the basis was fitted when no model asked for them.
    """
    if basis.maps is None:
        raise ConfigError(
            f"the condition has the field {COLLABORATIVE!r}, and the basis {basis.version[:12]} has no maps for it: it "
            f"was fitted without. Leave {COLLABORATIVE!r} out of condition.fields, or fit another basis with it there. "
            "Nothing was embedded."
        )
    rows = basis.maps.rows(items[:, : basis.options.content_dim], basis.places_of(history.item_ids))
    return _vectors(history, basis.maps, rows, start, stop)


def _vectors(
    history: History, maps: UserMaps, rows: Matrix, start: NDArray[np.int64], stop: NDArray[np.int64]
) -> FieldRows:
    """Return what the maps' (n_items, 2 dim) `rows` of the history's items say at each moment."""
    dim = len(maps.center)
    likes, before = likes_of(history), np.append(0, np.cumsum(history.weight > 0))
    first, after = before[start], before[stop]
    values, mask = np.zeros((len(start), dim), dtype=np.float32), after > first
    some = np.flatnonzero(mask)
    for asked in np.split(some, np.arange(_CHUNK, len(some), _CHUNK)):
        known = likes.newest_of(first[asked], after[asked], maps.window)
        decayed = decayed_rows(known, half_life=maps.half_life, window=maps.window) @ rows[:, :dim]
        last = rows[likes.item_index[after[asked] - 1], dim:]
        values[asked] = (decayed + last - maps.center) / maps.scale
    return FieldRows(values, mask)
