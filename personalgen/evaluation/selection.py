"""Which users and which held-out real items an evaluation uses, and their likes as user_items matrices.

Items of the judge split build the judge and its profile of each user; items of the test split are the real pictures to
compare with. Only later events count. Items of the training split never enter.

The condition of an evaluated user must come from the earlier events alone: a condition that has seen the held-out likes
would be asked what it was told.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from personalgen.errors import DataError
from personalgen.evaluation.options import MIN_USERS, EvaluationOptions
from personalgen.tables.split import JUDGE, TEST

IndexArray = NDArray[np.int64]
MaskArray = NDArray[np.bool_]
_LIKES_OF_JUDGE_USERS = 2
"""Fewest likes of somebody a judge learns from: what they have in common is what it learns."""


@dataclass(frozen=True)
class Selection:
    """The rows of one evaluation; every array but `user_index` is aligned with `item_index`."""

    user_index: IndexArray
    """(n_users,) positions of the evaluated users, in the order in which their pictures are expected."""

    item_index: IndexArray
    """(n_rows,) positions of the held-out items whose judge features are needed."""

    is_judge: MaskArray
    """(n_rows,) True for rows of the judge split, False for rows of the test split."""

    is_reference: MaskArray
    """(n_rows,) True for rows drawn without regard to who likes them: fidelity and the judge's fit use these alone."""

    profile_likes: csr_array
    """(n_users, n_rows) positive weights of later likes of judge items; a zero says nothing."""

    held_out_likes: csr_array
    """(n_users, n_rows) positive weights of later likes of test items; a zero says nothing."""

    is_judge_user: MaskArray
    """(n_users,) True for evaluated users of the judge split: a judge that learns from people may not judge them."""

    judge_likes: csr_array
    """(n_judge_users, n_rows) positive weights of all likes of judge items by users of the judge split."""


def select_held_out(
    *,
    user_ids: Sequence[str],
    judged_users: MaskArray,
    user_split: NDArray[Any],
    item_split: NDArray[Any],
    user_index: NDArray[Any],
    item_index: NDArray[Any],
    weight: NDArray[Any],
    later: NDArray[np.bool_],
    options: EvaluationOptions,
) -> Selection:
    """Return the users and held-out rows to evaluate on, the same for the same inputs and seed.

    `judged_users` marks the users who may be evaluated. `user_split` and `item_split` hold the codes of splits
    (tables.split); `later` marks the interactions that no condition under evaluation has seen. Dislikes (negative
    weights) are left out.

    Raises:
        DataError: fewer than 8 held-out users have enough held-out likes on both splits.
    """
    shape, used = (len(user_ids), len(item_split)), later & (weight > 0)
    profile, held_out = (
        _likes(shape, user_index, item_index, weight, used & (item_split[item_index] == split))
        for split in (JUDGE, TEST)
    )
    fewest = np.minimum(_row_lengths(profile), _row_lengths(held_out))
    eligible = np.flatnonzero(judged_users & (fewest >= options.min_likes))
    _require_users(len(eligible), options.min_likes)
    users = _first_by_digest(eligible, user_ids, options.n_users)
    profile, held_out = profile[users], held_out[users]
    of_judges = _likes(shape, user_index, item_index, weight, (weight > 0) & (item_split[item_index] == JUDGE))
    learnt_from = _judge_users(of_judges, user_ids, user_split, options)
    liked = np.concatenate([matrix.indices for matrix in (profile, held_out, of_judges[learnt_from])])
    rows, is_reference = _rows(item_split, liked, options)
    return Selection(
        user_index=users,
        item_index=rows,
        is_judge=np.asarray(item_split[rows] == JUDGE),
        is_reference=is_reference,
        profile_likes=csr_array(profile[:, rows]),
        held_out_likes=csr_array(held_out[:, rows]),
        is_judge_user=np.asarray(user_split[users] == JUDGE),
        judge_likes=csr_array(of_judges[learnt_from][:, rows]),
    )


def reference_items(item_split: NDArray[Any], options: EvaluationOptions) -> IndexArray:
    """Return `options.max_items` random held-out items, or all: those of the judge split fit judge A."""
    held_out = np.flatnonzero((item_split == JUDGE) | (item_split == TEST))
    return np.asarray(np.random.default_rng(options.seed).permutation(held_out)[: options.max_items], np.int64)


def _likes(
    shape: tuple[int, int], user_index: NDArray[Any], item_index: NDArray[Any], weight: NDArray[Any], keep: MaskArray
) -> csr_array:
    """Return (n_users, n_items) summed weights of the kept interactions."""
    entries = (weight[keep].astype(np.float64), (user_index[keep], item_index[keep]))
    return coo_array(entries, shape=shape).tocsr()


def _judge_users(
    likes: csr_array, user_ids: Sequence[str], user_split: NDArray[Any], options: EvaluationOptions
) -> IndexArray:
    """Return the users of the judge split with at least two likes of judge items, as many as are evaluated at most."""
    eligible = np.flatnonzero((user_split == JUDGE) & (_row_lengths(likes) >= _LIKES_OF_JUDGE_USERS))
    return _first_by_digest(eligible, user_ids, options.n_users)


def _row_lengths(user_items: csr_array) -> IndexArray:
    return np.asarray(np.diff(user_items.indptr), np.int64)


def _first_by_digest(eligible: IndexArray, user_ids: Sequence[str], n_users: int) -> IndexArray:
    """Return the users whose ids hash lowest, so that a growing user base keeps most of the chosen ones."""
    ranked = sorted((hashlib.blake2b(user_ids[k].encode(), digest_size=8).digest(), int(k)) for k in eligible)
    return np.array([k for _, k in ranked[:n_users]], np.int64)


def _rows(item_split: NDArray[Any], liked: NDArray[Any], options: EvaluationOptions) -> tuple[IndexArray, MaskArray]:
    """Return the sorted held-out rows, a random `max_items` and all liked ones, and which are the random ones."""
    reference = reference_items(item_split, options)
    rows = np.union1d(reference, liked).astype(np.int64)
    return rows, np.isin(rows, reference)


def _require_users(n_found: int, min_likes: int) -> None:
    if n_found < MIN_USERS:
        raise DataError(
            f"An evaluation needs at least {MIN_USERS} held-out users with {min_likes} or more held-out likes on judge "
            f"items and as many on test items, found {n_found}. Give more users (three in ten are held out), more "
            "history of theirs, or raise split.later_share. The evaluation is missing; nothing was measured."
        )
