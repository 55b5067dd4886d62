"""A new basis in the place of an old one: fitted anew, and turned so that what stayed the same looks the same.

Two fits on nearly the same events differ by a rotation that says nothing: singular vectors have no sign, and those of
like weight no order. Orthogonal Procrustes takes it out, so that the weights of a model that was told in the old basis
are a good start in the new one.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from scipy.linalg import orthogonal_procrustes

from personalgen.embeddings.basis import Basis, Matrix, UserMaps
from personalgen.errors import ConfigError


def is_over(fitted_as_of: str, as_of: str, epoch_days: int) -> bool:
    """Return whether a basis was fitted more than `epoch_days` before `as_of`, both ISO 8601; 0 days are for ever."""
    age = datetime.fromisoformat(as_of) - datetime.fromisoformat(fitted_as_of)
    return epoch_days > 0 and age > timedelta(days=epoch_days)


def rebased(new: Basis, old: Basis, features: Matrix, item_ids: tuple[str, ...]) -> Basis:
    """Return `new`, turned so that the items of which both have learned factors lie nearest to where `old` has them.

    Both halves are turned by themselves, as each has a length of its own, and so are the maps of `collaborative`: all
    products of vectors within a half stay. (n_items, n_features) `features` are those of the items.
    Source: Schoenemann (1966), the orthogonal Procrustes problem.

    Raises:
        ConfigError: the two have fewer items in common than a half has columns.
    """
    places = np.stack([basis.places_of(item_ids) for basis in (new, old)])
    shared = np.flatnonzero((places >= 0).all(0))
    needed = max(new.options.content_dim, new.options.collaborative_dim)
    if len(shared) < needed:
        raise ConfigError(
            f"a basis that was fitted as of {old.fitted_as_of or 'an unknown day'} is due for another one "
            f"(embeddings.epoch_days), and the two have {len(shared)} liked items in common; at least {needed}, the "
            "columns of a half, are needed to turn one onto the other. Set embeddings.epoch_days to 0 to keep the old "
            "basis. Nothing was embedded."
        )
    names = tuple(item_ids[k] for k in shared)
    ours, theirs = (basis.item_vectors(features[shared], names) for basis in (new, old))
    content, factors = (_rotation(ours[:, half], theirs[:, half]) for half in new.halves)
    maps = new.maps
    if maps and old.maps:
        learned = [basis.of_items[place[shared]] for basis, place in zip((maps, old.maps), places, strict=True)]
        maps = _turned_maps(maps, content, _rotation(*(rows.reshape(-1, len(maps.center)) for rows in learned)))
    means = new.segment_means
    return replace(
        new,
        content_map=_product(new.content_map, content),
        factor_map=_product(content.T, new.factor_map, factors),
        item_factors=_product(new.item_factors, factors),
        center=_turned(new.center, content, factors),
        segment_means=None if means is None else _turned(means, content, factors),
        maps=maps,
    )


def _rotation(ours: Matrix, theirs: Matrix) -> Matrix:
    """Return the orthogonal matrix that brings our rows nearest to theirs."""
    found: Matrix = orthogonal_procrustes(ours.astype(np.float64), theirs.astype(np.float64))[0]
    return found


def _turned(vectors: Matrix, content: Matrix, factors: Matrix) -> Matrix:
    """Return (…, dim) vectors with each half turned."""
    edge = len(content)
    return np.concatenate([_product(vectors[..., :edge], content), _product(vectors[..., edge:], factors)], axis=-1)


def _turned_maps(maps: UserMaps, content: Matrix, rotation: Matrix) -> UserMaps:
    """Return maps that take content turned by `content`, and whose vectors are turned by `rotation`."""
    dim = len(rotation)
    of_items, of_content = (
        _product(rows.reshape(-1, dim), rotation).reshape(rows.shape) for rows in (maps.of_items, maps.of_content)
    )
    return replace(
        maps, of_items=of_items, of_content=_product(content.T, of_content), center=_product(maps.center, rotation)
    )


def _product(first: Matrix, *others: Matrix) -> Matrix:
    """Return the product in float64, as float32."""
    found = first.astype(np.float64)
    for other in others:
        found = found @ other
    return found.astype(np.float32)
