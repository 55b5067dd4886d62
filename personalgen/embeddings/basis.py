"""The frozen space in which preferences and generators meet.

A basis is fitted once, on training items and past events only, and then frozen: a generator declares the version it was
trained on, and a night embeds everybody in the basis of every model it needs. Item vectors of a basis are the whitened
content beside collaborative factors; an item without enough likes gets its factors from its content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors.numpy import load, save

from personalgen.artifacts import digest_of, read_json, sha256_file, write_bytes, write_json
from personalgen.embeddings.content import CONTENT_ENCODER
from personalgen.embeddings.options import SENTENCES, EmbeddingOptions
from personalgen.embeddings.text import TEXT_ENCODER
from personalgen.errors import ArtifactError
from personalgen.histories import History

ARRAYS, CARD = "basis.safetensors", "basis.json"
_RIDGE = 1.0
_MAPS = "collaborative_"
"""Before the names of the maps' arrays."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class UserMaps:
    """Frozen maps from a person's newest likes to the vector of the linear next-item model; all matrices float32."""

    half_life: float
    """Likes after which a like weighs half."""
    window: int
    """Newest likes that count."""
    of_items: Matrix
    """(len(item_ids), 2 dim), of the basis's items: the row of a decayed like, then that of the last one."""
    of_content: Matrix
    """(content_dim, 2 dim): the same of other items, from their content at unit length."""
    center: Matrix
    """(dim,) mean vector of the people who fitted the basis."""
    scale: Matrix
    """(1,) root of the mean variance of the vectors' columns."""

    @classmethod
    def of(cls, facts: Mapping[str, float], arrays: Mapping[str, Matrix]) -> Self:
        """Return the maps that have these facts and arrays."""
        return cls(half_life=facts["half_life"], window=int(facts["window"]), **arrays)

    def facts(self) -> dict[str, float]:
        """Return the numbers beside the matrices."""
        return {"half_life": self.half_life, "window": self.window}

    def arrays(self) -> dict[str, Matrix]:
        """Return every matrix by its name."""
        return _named(self, ("of_items", "of_content", "center", "scale"))

    def rows(self, content: Matrix, place: NDArray[np.int64]) -> Matrix:
        """Return (n, 2 dim) rows of items with (n, content_dim) `content`, which are at `place` in the basis or -1."""
        rows: Matrix = content @ self.of_content
        rows[place >= 0] = self.of_items[place[place >= 0]]
        return rows


@dataclass(frozen=True)
class Basis:
    """A frozen embedding space; all matrices float32."""

    options: EmbeddingOptions
    encoder: str
    """Name of the content net whose features this basis expects."""
    content_mean: Matrix
    """(n_features,) mean of the training items' features."""
    content_map: Matrix
    """(n_features, content_dim) whitening projection."""
    factor_map: Matrix
    """(content_dim, collaborative_dim) ridge regression from content to factors, for items with few likes."""
    item_ids: tuple[str, ...]
    """Items with learned factors."""
    item_factors: Matrix
    """(len(item_ids), collaborative_dim) factors, unit variance per column."""
    center: Matrix
    """(dim,) population mean of raw user vectors."""
    scale: Matrix
    """(dim,) population standard deviation of raw user vectors."""
    pseudo_events: Matrix | None = None
    """(2,) of the prior, in the content and the collaborative half; None where `options.shrinkage` stands for both."""
    segments: tuple[str, ...] = ()
    """Segments of users who have a prior of their own."""
    segment_means: Matrix | None = None
    """(len(segments), dim) raw vectors towards which few events of a segment's users are shrunk; None without any."""
    maps: UserMaps | None = None
    """What the field `collaborative` follows from; None where no model asked for it when the basis was fitted."""
    fitted_as_of: str = ""
    """ISO 8601 instant of the night that fitted it, empty where nobody wrote it down; no part of its version."""

    @property
    def halves(self) -> tuple[slice, slice]:
        """Columns of content and of factors."""
        return slice(0, self.options.content_dim), slice(self.options.content_dim, self.options.dim)

    @property
    def version(self) -> str:
        """32 hex digits that change with any number in the basis."""
        arrays = {name: value.tobytes().hex() for name, value in self.arrays().items()}
        content = {"options": self.options.identity(), "encoder": self.encoder, "items": self.item_ids}
        return digest_of({**content, "arrays": arrays, **self.later_facts()})

    def later_facts(self) -> dict[str, object]:
        """Return what not every basis has, besides arrays."""
        found: dict[str, object] = {"segments": self.segments} if self.segments else {}
        return found | ({"collaborative": self.maps.facts()} if self.maps else {})

    def item_vectors(self, features: Matrix, item_ids: tuple[str, ...]) -> Matrix:
        """Return (n, dim) item vectors from (n, n_features) content features; both halves have unit length."""
        content = np.asarray((features - self.content_mean) @ self.content_map, dtype=np.float32)
        factors = np.asarray(content @ self.factor_map, dtype=np.float32)
        known = self.places_of(item_ids)
        factors[known >= 0] = self.item_factors[known[known >= 0]]
        return np.concatenate([_unit_rows(content), _unit_rows(factors)], axis=1).astype(np.float32)

    def places_of(self, item_ids: tuple[str, ...]) -> NDArray[np.int64]:
        """Return where each item stands among those with learned factors, -1 for others."""
        place = {item_id: k for k, item_id in enumerate(self.item_ids)}
        return np.array([place.get(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def standardise(self, raw: Matrix) -> Matrix:
        """Return user vectors with zero mean and unit variance over the population that fitted the basis."""
        return ((raw - self.center) / self.scale).astype(np.float32)

    def priors_of(self, history: History) -> tuple[Matrix, Matrix]:
        """Return where few events of each user are shrunk to, (n_users, dim), and by how many pseudo-events, (dim,)."""
        options, rows = self.options, np.tile(self.center, (len(history.user_ids), 1))
        if self.segment_means is not None and history.segments:
            place = {segment: k for k, segment in enumerate(self.segments)}
            own = np.array([place.get(segment, -1) if segment else -1 for segment in history.segments], dtype=np.int64)
            rows[own >= 0] = self.segment_means[own[own >= 0]]
        if self.pseudo_events is None:
            return rows, np.full(options.dim, options.shrinkage)
        return rows, np.repeat(self.pseudo_events, [options.content_dim, options.collaborative_dim])

    def arrays(self) -> dict[str, Matrix]:
        """Return every matrix by its name."""
        later = [name for name in ("pseudo_events", "segment_means") if getattr(self, name) is not None]
        own = _named(self, ("content_mean", "content_map", "factor_map", "item_factors", "center", "scale", *later))
        maps = self.maps.arrays() if self.maps else {}
        return own | {f"{_MAPS}{name}": array for name, array in maps.items()}


def fit_content(features: Matrix, options: EmbeddingOptions) -> tuple[Matrix, Matrix]:
    """Return (mean, whitening map) of item features by PCA; components beyond the rank stay zero."""
    mean, scale = features.mean(0), _scales(features, options)
    _, singular, components = np.linalg.svd((features - mean) * scale, full_matrices=False)
    kept = min(options.content_dim, int((singular > singular[0] * 1e-6).sum()))
    content_map = np.zeros((features.shape[1], options.content_dim), dtype=np.float32)
    content_map[:, :kept] = scale[:, None] * components[:kept].T * (np.sqrt(len(features)) / singular[:kept])
    return mean.astype(np.float32), content_map


def _scales(features: Matrix, options: EmbeddingOptions) -> Matrix:
    """Return (n_features,) factors that give the texts' columns their set share of the pictures' variance."""
    scale = np.ones(features.shape[1], dtype=np.float32)
    columns = slice(features.shape[1] - options.text_columns, None)
    if options.text_weight and options.text_columns:
        variance = features.var(0, dtype=np.float64)
        of_texts = max(float(variance[columns].sum()), 1e-12)
        scale[columns] = np.sqrt(options.text_weight * (variance.sum() - of_texts) / of_texts)
    return scale


def fit_factors(likes: sp.csr_matrix, dim: int) -> Matrix:
    """Return (n_items, dim) collaborative factors of (n_users, n_items) decayed likes, columns of unit variance.

    Truncated SVD of log(1 + weight) with items scaled by 1/sqrt(popularity); missing dimensions are zero.
    """
    from sklearn.decomposition import TruncatedSVD

    damped = likes.copy()
    damped.data = np.log1p(damped.data)
    popularity = np.asarray(damped.sum(0)).ravel()
    damped = damped @ sp.diags(1 / np.sqrt(popularity + 1))
    rank = min(dim, min(damped.shape) - 1)
    factors = np.zeros((likes.shape[1], dim), dtype=np.float32)
    if rank > 0:
        components = TruncatedSVD(rank, random_state=0).fit(damped).components_.T
        factors[:, :rank] = components / np.maximum(components.std(0), 1e-12)
    return factors


def fit_factor_map(content: Matrix, factors: Matrix) -> Matrix:
    """Return the ridge regression (content_dim, collaborative_dim) that predicts factors from whitened content."""
    gram = content.T @ content + _RIDGE * np.eye(content.shape[1], dtype=np.float32)
    return np.linalg.solve(gram, content.T @ factors).astype(np.float32)


def save_basis(folder: Path, basis: Basis) -> None:
    """Write arrays, then the card, atomically."""
    path = write_bytes(folder / ARRAYS, save(basis.arrays()))
    card = {
        "version": basis.version,
        "encoder": basis.encoder,
        "options": basis.options.identity(),
        "item_ids": basis.item_ids,
        **({"fitted_as_of": basis.fitted_as_of} if basis.fitted_as_of else {}),
        **basis.later_facts(),
    }
    write_json(folder / CARD, {**card, "arrays_sha256": sha256_file(path)})


def load_basis(folder: Path) -> Basis:
    """Return the basis in `folder`.

    Raises:
        ArtifactError: a file is missing, or arrays and card do not belong together.
    """
    card = read_json(folder / CARD)
    path = folder / ARRAYS
    if not path.is_file() or sha256_file(path) != card["arrays_sha256"]:
        raise ArtifactError(f"{path} is missing or is not the one that {folder / CARD} describes. Restore the folder.")
    arrays = load(path.read_bytes())
    options = EmbeddingOptions(**card["options"])
    maps = {name.removeprefix(_MAPS): arrays.pop(name) for name in list(arrays) if name.startswith(_MAPS)}
    basis = Basis(
        options=options,
        encoder=card["encoder"],
        item_ids=tuple(card["item_ids"]),
        fitted_as_of=card.get("fitted_as_of", ""),
        segments=tuple(card.get("segments", ())),
        maps=UserMaps.of(card["collaborative"], maps) if "collaborative" in card else None,
        **arrays,
    )
    if basis.version != card["version"]:
        raise ArtifactError(f"{folder / CARD} was changed: its content is not that of its version. Restore the folder.")
    return basis


def encoder_name(options: EmbeddingOptions) -> str:
    """Return the identity of the content features: net, input size and text width."""
    texts = TEXT_ENCODER if options.text == SENTENCES else f"text{options.text_dim}"
    return f"{CONTENT_ENCODER}@{options.feature_px}+{texts}"


def _named(holder: object, names: tuple[str, ...]) -> dict[str, Matrix]:
    return {name: np.ascontiguousarray(getattr(holder, name), dtype=np.float32) for name in names}


def _unit_rows(matrix: Matrix) -> Matrix:
    norm = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.maximum(norm, 1e-12), dtype=np.float32)
