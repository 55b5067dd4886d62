"""Whether tonight's vectors still mean what last night's did; if not, users keep last night's."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from personalgen.bounds import check_options
from personalgen.conditions import ConditionSpec
from personalgen.embeddings.fields import CONFIDENCE, FieldRows
from personalgen.embeddings.preference import NO_EVENTS, PreferenceTable

MIN_PEOPLE = 20
"""Fewest unchanged users, and fewest people whose newest likes are ranked, for a figure to decide anything."""
_ROUNDING = 1e-5
"""What the order of a sum may change of a number of the size of one; measured, it is fifty times less."""


@dataclass(frozen=True)
class DriftOptions:
    """How far vectors may move by themselves in a night."""

    min_cosine: float = 0.999
    """Least cosine between tonight's and last night's vector of users who did nothing new, all but the lowest hundredth
    of them."""
    max_norm_ratio: float = 1.5
    """Most that the mean length of all users' vectors may grow, or shrink, by a factor."""
    min_ndcg_share: float = 0.5
    """Least NDCG@10 of the recommender on likes that are new since last night, as a share of popularity's."""

    def __post_init__(self) -> None:
        """Refuse bounds that nothing can meet, all in one message."""
        check_options("drift", self, least={"max_norm_ratio": 1, "min_ndcg_share": 0}, shares=("min_cosine",))


@dataclass(frozen=True)
class Drift:
    """Tonight's vectors beside last night's in the same basis; NaN where there is too little to tell."""

    cosine: float
    """Lowest but the lowest hundredth, over users who did nothing new."""
    norm_ratio: float
    """Mean length of all users' vectors tonight over last night's."""
    ndcg_share: float
    """NDCG@10 on likes that are new since last night, over that of popularity."""
    n_unchanged: int
    """Users who did nothing new."""

    def reasons(self, options: DriftOptions) -> tuple[str, ...]:
        """Return why tonight's vectors are not to be used; empty where they are."""
        most = options.max_norm_ratio
        faults = {
            f"unchanged users' vectors have a cosine of {self.cosine:.4f} to last night's, below drift.min_cosine = "
            f"{options.min_cosine:g}": self.cosine < options.min_cosine,
            f"vectors are {self.norm_ratio:.3g} times as long as last night's, and drift.max_norm_ratio is "
            f"{most:g}": self.norm_ratio > most or self.norm_ratio < 1 / most,
            f"the recommender reaches {self.ndcg_share:.3g} of popularity's NDCG@10 on the newest likes, below "
            f"drift.min_ndcg_share = {options.min_ndcg_share:g}": self.ndcg_share < options.min_ndcg_share,
        }
        return tuple(reason for reason, is_so in faults.items() if is_so)

    def metrics(self) -> dict[str, float]:
        """Return the figures that there are."""
        return {name: float(value) for name, value in asdict(self).items() if np.isfinite(value)}


def measure_drift(
    before: PreferenceTable, tonight: PreferenceTable, unchanged: Collection[str], *, ndcg_share: float = np.nan
) -> Drift:
    """Return how tonight's vectors stand to last night's, which are of the same basis; `unchanged` are users' ids."""
    mine, theirs = _common(tonight, before)
    known = frozenset(unchanged)
    same = np.array([tonight.user_ids[k] in known for k in mine.tolist()], dtype=np.bool_)
    one, other = tonight.vectors[mine], before.vectors[theirs]
    norms = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    cosine = (one * other).sum(1)[same] / np.maximum(norms[0] * norms[1], 1e-12)[same]
    enough = int(same.sum()) >= MIN_PEOPLE
    ratio = norms[0].mean() / max(float(norms[1].mean()), 1e-12) if len(mine) >= MIN_PEOPLE else np.nan
    lowest = float(np.quantile(cosine, 0.01, method="lower")) if enough else np.nan
    return Drift(lowest, float(ratio), float(ndcg_share), int(same.sum()))


def held_at(before: PreferenceTable, tonight: PreferenceTable) -> PreferenceTable:
    """Return tonight's users with last night's vectors and fields.

    Who was not there last night is nobody yet: the mean of all people, without an event. Who has fewer events than
    then, because some were withdrawn, stands by tonight's.
    """
    mine, theirs = _common(tonight, before)
    as_before = tonight.n_events[mine] >= before.n_events[theirs]
    fewer, mine, theirs = mine[~as_before], mine[as_before], theirs[as_before]
    n_users = len(tonight.user_ids)
    vectors, counts = np.zeros_like(tonight.vectors), np.zeros(n_users, dtype=np.int32)
    vectors[mine], counts[mine] = before.vectors[theirs], before.n_events[theirs]
    vectors[fewer], counts[fewer] = tonight.vectors[fewer], tonight.n_events[fewer]
    events = [before.events_json[k] for k in theirs.tolist()] + [tonight.events_json[k] for k in fewer.tolist()]
    own = dict(zip([*mine.tolist(), *fewer.tolist()], events, strict=True))
    return PreferenceTable(
        tonight.user_ids,
        vectors,
        counts,
        tuple(own.get(k, NO_EVENTS) for k in range(n_users)),
        tonight.basis_version,
        {
            name: _held(before.fields[name], rows, mine, theirs, fewer, is_told_of_nobody=name == CONFIDENCE)
            for name, rows in tonight.fields.items()
        },
    )


def as_it_was(then: PreferenceTable, computed: PreferenceTable, spec: ConditionSpec) -> PreferenceTable:
    """Return the computed users, those as they were of whom both tables tell `spec` the same to rounding.

    Sums that were kept and sums that are made anew differ in their last bits, and images are found by all bits. Both
    tables are of one basis; `then` has at least the fields of the other.
    """
    mine, theirs = _common(computed, then)
    then = replace(then, fields={name: then.fields[name] for name in computed.fields})
    now, before = computed.condition_rows(spec)[mine], then.condition_rows(spec)[theirs]
    same = np.isclose(now, before, rtol=_ROUNDING, atol=_ROUNDING).all(axis=1)
    others = np.setdiff1d(np.arange(len(computed.user_ids)), mine[same])
    return PreferenceTable.joined([then.rows(theirs[same]), computed.rows(others)])


def _held(
    before: FieldRows,
    tonight: FieldRows,
    mine: NDArray[np.int64],
    theirs: NDArray[np.int64],
    fewer: NDArray[np.int64],
    *,
    is_told_of_nobody: bool,
) -> FieldRows:
    """Return last night's rows; of who was not there zeros, absent but for a field that says how little is known."""
    values, mask = np.zeros_like(tonight.values), np.full_like(tonight.mask, is_told_of_nobody)
    values[mine], mask[mine] = before.values[theirs], before.mask[theirs]
    values[fewer], mask[fewer] = tonight.values[fewer], tonight.mask[fewer]
    return FieldRows(values, mask)


def _common(one: PreferenceTable, other: PreferenceTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places in both tables of the users who are in both."""
    place = {user_id: k for k, user_id in enumerate(other.user_ids)}
    both = [(k, place[user_id]) for k, user_id in enumerate(one.user_ids) if user_id in place]
    mine, theirs = np.array(both, dtype=np.int64).reshape(-1, 2).T
    return mine, theirs
