"""Preferences of the users of one bucket, from what an affinity state knows of them: no event is read again.

The same, to rounding, as `embed_users` says of their histories.
"""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from personalgen.affinity import AffinityRows, Sums
from personalgen.embeddings.basis import Basis, Matrix
from personalgen.embeddings.expected import Foresight
from personalgen.embeddings.fields import DISLIKES, FieldRows
from personalgen.embeddings.history import decayed_weights, top_events, vectors_of_sums
from personalgen.embeddings.known import Moments, user_fields
from personalgen.embeddings.preference import PreferenceTable
from personalgen.embeddings.rated import RatedPictures, rating_terms
from personalgen.histories import History


def recent_history(
    rows: AffinityRows,
    item_of_key: NDArray[np.int64],
    item_ids: tuple[str, ...],
    *,
    landmark: int,
    segment_of: Mapping[str, str | None] | None = None,
) -> History:
    """Return the newest events of a bucket's users; `item_of_key[key]` is the place in `item_ids` of an item's key.

    `segment_of` tells the segments of users who have one, by their ids.
    """
    user = np.repeat(np.arange(len(rows.users)), np.diff(rows.recent_bounds))
    item, time = item_of_key[rows.recent.item], landmark + rows.recent.seconds.astype(np.int64)
    order = np.lexsort((item, time, user))
    columns = user[order], item[order], time[order], rows.recent.weight[order]
    user_ids = tuple(map(str, rows.users.tolist()))
    segments = tuple(segment_of.get(user_id) for user_id in user_ids) if segment_of else ()
    return History(user_ids, item_ids, *columns, segments)


def embed_rows(
    rows: AffinityRows,
    recent: History,
    basis: Basis,
    items: Matrix,
    item_of_key: NDArray[np.int64],
    asked: Mapping[str, int],
    *,
    now: int,
    landmark: int = 0,
    foresight: Foresight | None = None,
    rated: RatedPictures | None = None,
) -> PreferenceTable:
    """Return the preferences of a bucket's users, who are asked about at `now`, in seconds since 1970.

    `recent` is their `recent_history`, and `items` are the (n_items, dim) vectors in the basis. The state must halve
    events as the basis does, and keep `KNOWN_EVENTS` of each user; `landmark` is where its seconds begin. `rated` are
    ratings of pictures, these users' among them.
    """
    likes, dislikes = (_matrix(side, item_of_key, len(items)) for side in (rows.liked, rows.disliked))
    terms = None
    if rated is not None:
        half_life_days, newest = basis.options.half_life_days, landmark + rows.newest.astype(np.int64)
        terms = rating_terms(rated, recent.user_ids, newest, half_life_days=half_life_days, dim=basis.options.dim)
    raw = vectors_of_sums(likes, dislikes, items, basis.options, prior=basis.priors_of(recent), ratings=terms)
    weight = decayed_weights(recent, basis.options.half_life_days)
    totals = np.asarray(likes.sum(1) + dislikes.sum(1)).ravel()
    moments = Moments.of_users(recent, np.full(len(rows.users), now, dtype=np.int64), rows.n_events)
    others = {name: count for name, count in asked.items() if name != DISLIKES}
    fields = user_fields(recent, basis, items, moments, others, foresight)
    if DISLIKES in asked:
        fields[DISLIKES] = _means(dislikes, basis, items)
    return PreferenceTable(
        recent.user_ids,
        basis.standardise(raw),
        rows.n_events.astype(np.int32) + (0 if terms is None else terms.count),
        top_events(recent, weight, basis.options.n_top_events, totals=totals, ratings=terms),
        basis.version,
        dict(sorted(fields.items())),
    )


def _matrix(sums: Sums, item_of_key: NDArray[np.int64], n_items: int) -> sp.csr_matrix:
    """Return (n_users, n_items) sums as of each user's newest event."""
    columns = (sums.value, item_of_key[sums.item], sums.bounds)
    return sp.csr_matrix(columns, shape=(len(sums.bounds) - 1, n_items))


def _means(sums: sp.csr_matrix, basis: Basis, items: Matrix) -> FieldRows:
    """Return the weighted means of items, standardised as preferences are; absent where there is no weight."""
    totals = np.asarray(sums.sum(1)).ravel()
    found, values = totals > 0, np.zeros((len(totals), items.shape[1]), dtype=np.float32)
    values[found] = basis.standardise((sums[found] @ items.astype(np.float64)) / totals[found][:, None])
    return FieldRows(values, found)
