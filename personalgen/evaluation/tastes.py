"""How much a picture is to one person's taste and not to everybody's: the score that analysts sort by.

Judge A's likeness of the picture to what the person liked, less the mean of its likeness to what each other person
liked: `per_user_gain` of one picture. Above 0 it suits its person better than the crowd; 2 is the most, -2 the least.
It is no proof of personal fit, as a model was told of these very likes: that is measured on likes held out from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.judge import ContentJudge, weighted_rows
from personalgen.evaluation.nearest import unit_rows
from personalgen.evaluation.options import MIN_USERS


@dataclass(frozen=True)
class Tastes:
    """What people liked, as judge A sees it."""

    judge: ContentJudge
    profiles: FloatArray
    """(n_users, r) rows of length one in the judge's whitened space; zero for people without likes."""

    @classmethod
    def of(cls, judge: ContentJudge, features: Iterable[NDArray[Any]], user_items: csr_array) -> "Tastes":
        """Return the tastes of people from positive weights (n_users, n_items) on items.

        `features` are those of the items in order, in parts of (k, d): never all of them at once.

        Raises:
            DataError: fewer than 8 people like something, or a weight is not positive.
        """
        known = np.flatnonzero(np.diff(user_items.indptr))
        if len(known) < MIN_USERS:
            raise DataError(
                f"A score tells a person's taste from other people's, and needs {MIN_USERS} with likes, found "
                f"{len(known)}. Nothing was scored."
            )
        rows = np.concatenate([judge.whiten(part) for part in features])
        profiles = np.zeros((user_items.shape[0], rows.shape[1]))
        profiles[known] = unit_rows(weighted_rows(user_items[known]) @ rows)
        return cls(judge, profiles)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n_users,) whether somebody has likes, and a taste to be scored by."""
        return np.asarray(self.profiles.any(axis=1))

    def score(self, features: NDArray[Any], users: NDArray[np.int64]) -> FloatArray:
        """Return (k,) scores in [-2, 2] of pictures with judge `features` (k, d) for these `users`, who have likes.

        The mean over all others is taken at once: cosines with unit vectors add up as the vectors do.
        """
        pictures, own = unit_rows(self.judge.whiten(features)), self.profiles[users]
        others = (self.profiles.sum(axis=0) - own) / (self.known.sum() - 1)
        return np.asarray(((own - others) * pictures).sum(axis=1))
