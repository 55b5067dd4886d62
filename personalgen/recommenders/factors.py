"""Factor models: items as vectors, a person as what follows from the items liked lately. Baselines."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from personalgen.bounds import check_options
from personalgen.errors import ConfigError
from personalgen.histories import History
from personalgen.recommenders.base import LearntAnew, Matrix, decayed_rows, likes_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class FactorOptions:
    """Settings of the factor models."""

    dim: int = 64
    """Columns of item and user vectors."""
    half_life: float = 3.0
    """Likes after which a like weighs half in what a person is asked with."""
    window: int = 16
    """Newest likes that a person is asked with."""
    regularization: float = 0.1
    """ALS: weight of the squared factors."""
    alpha: float = 5.0
    """ALS: how much more a like counts than what was not liked."""
    iterations: int = 15
    """ALS: sweeps over people and items."""
    seed: int = 0
    """Of the start."""

    def __post_init__(self) -> None:
        """Refuse settings that give no factors, all in one message."""
        check_options(
            "recommender",
            self,
            least={"dim": 1, "window": 1, "iterations": 1, "regularization": 0},
            above={"half_life": 0, "alpha": 0},
        )


class _Factors(LearntAnew):
    """Item factors from the matrix of all likes; people are made of their newest likes when they are asked about."""

    name = "factors"

    def __init__(self, options: FactorOptions | None = None) -> None:
        """Wait for a fit."""
        self.options = options or FactorOptions()
        self.item_ids: tuple[str, ...] = ()
        self._items: Matrix = np.zeros((0, self.options.dim), dtype=np.float32)

    def fit(self, history: History) -> Self:
        """Learn item factors from all of a history."""
        likes = likes_of(history)
        everything = max(len(likes.item_index), 1)
        self.item_ids = history.item_ids
        self._items = self._factorised(decayed_rows(likes, half_life=np.inf, window=everything))
        return self

    def user_vectors(self, history: History) -> Matrix:
        """Return (n_users, dim) of the newest likes, an older one halved per half-life."""
        return self._folded_in(
            decayed_rows(likes_of(history), half_life=self.options.half_life, window=self.options.window)
        )

    def item_vectors(self) -> Matrix:
        """Return (n_items, dim)."""
        return self._items

    @abstractmethod
    def _factorised(self, likes: "csr_array") -> Matrix:
        """Return (n_items, dim) factors of (n_users, n_items) likes."""

    def _folded_in(self, rows: "csr_array") -> Matrix:
        """Return people's vectors from rows of likes."""
        found: Matrix = np.asarray(rows @ self._items, dtype=np.float32)
        return found


class Svd(_Factors):
    """Truncated singular vectors of the likes (scikit-learn)."""

    name = "svd"

    def _factorised(self, likes: "csr_array") -> Matrix:
        from sklearn.decomposition import TruncatedSVD

        items = np.zeros((likes.shape[1], self.options.dim), dtype=np.float32)
        rank = min(self.options.dim, min(likes.shape) - 1)
        if rank > 0:
            items[:, :rank] = TruncatedSVD(rank, random_state=self.options.seed).fit(likes).components_.T
        return items


class Als(_Factors):
    """Weighted alternating least squares on implicit feedback (Hu, Koren & Volinsky 2008), by the package implicit."""

    name = "als"

    def _factorised(self, likes: "csr_array") -> Matrix:
        try:
            from implicit.cpu.als import AlternatingLeastSquares
        except ImportError as error:
            raise ConfigError(
                f"the recommender als needs the package {error.name!r}, which is not installed. Install the extra: "
                "pip install 'personalgen[als]'. Nothing was fitted."
            ) from error
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits

        options = self.options
        with threadpool_limits(1, "blas"):  # its many small solves are slower on several threads
            self._model = AlternatingLeastSquares(
                factors=options.dim,
                regularization=options.regularization,
                alpha=options.alpha,
                iterations=options.iterations,
                random_state=options.seed,
                num_threads=1,
            )
            self._model.fit(csr_matrix(likes), show_progress=False)
        return np.asarray(self._model.item_factors, dtype=np.float32)

    def _folded_in(self, rows: "csr_array") -> Matrix:
        """Return the least squares' own vectors of people with these rows."""
        from scipy.sparse import csr_matrix

        found = self._model.recalculate_user(np.arange(rows.shape[0]), csr_matrix(rows))
        return np.asarray(found, dtype=np.float32)
