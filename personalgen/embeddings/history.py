"""How histories become vectors: tonight's, at a split, and before each event."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix, encoder_name, fit_content, fit_factor_map, fit_factors
from personalgen.embeddings.collaborative import fit_maps
from personalgen.embeddings.expected import Foresight
from personalgen.embeddings.known import Moments, user_fields
from personalgen.embeddings.options import EmbeddingOptions
from personalgen.embeddings.preference import PreferenceTable, events_to_json
from personalgen.embeddings.priors import Groups, with_pseudo_events, with_segments
from personalgen.embeddings.rated import RatedPictures, RatingTerms, rating_terms
from personalgen.histories import DAY_SEC, History
from personalgen.recommenders import NextItemOptions

_KEPT_IN_SUBSETS = 0.5


def decayed_weights(history: History, half_life_days: float) -> NDArray[np.float64]:
    """Return each event's weight halved per `half_life_days` before the user's own newest event.

    The anchor is the user's last event, not tonight: time passing by itself changes nobody's preference.
    """
    newest = np.full(len(history.user_ids), np.iinfo(np.int64).min)
    np.maximum.at(newest, history.user_index, history.timestamp)
    age_days = (newest[history.user_index] - history.timestamp) / DAY_SEC
    return np.asarray(history.weight * 2.0 ** (-age_days / half_life_days), dtype=np.float64)


def raw_user_vectors(
    history: History,
    item_vectors: Matrix,
    options: EmbeddingOptions,
    *,
    prior: tuple[Matrix, Matrix] | None,
    ratings: RatingTerms | None = None,
) -> Matrix:
    """Return (n_users, dim): the shrunk decayed mean of liked items less a part of the mean of disliked ones.

    `prior` is what few events are shrunk to, (n_users, dim), and its pseudo-events, (dim,); None leaves the mean
    unshrunk.
    """
    weight = decayed_weights(history, options.half_life_days)
    likes, dislikes = (_matrix(history, side) for side in (np.maximum(weight, 0), np.maximum(-weight, 0)))
    return vectors_of_sums(likes, dislikes, item_vectors, options, prior=prior, ratings=ratings)


def vectors_of_sums(
    likes: sp.csr_matrix,
    dislikes: sp.csr_matrix,
    item_vectors: Matrix,
    options: EmbeddingOptions,
    *,
    prior: tuple[Matrix, Matrix] | None,
    ratings: RatingTerms | None = None,
) -> Matrix:
    """Return `raw_user_vectors` of (n_users, n_items) decayed weights, those of dislikes without their sign."""
    liked, like_total = _weighted_sums(likes, item_vectors)
    disliked, dislike_total = _weighted_sums(dislikes, item_vectors)
    if ratings is not None:
        fade = ratings.fade
        liked, like_total = liked * fade[:, None] + ratings.liked, like_total * fade + ratings.like_total
        disliked = disliked * fade[:, None] + ratings.disliked
        dislike_total = dislike_total * fade + ratings.dislike_total
    start, pseudo = (0.0, 0.0) if prior is None else (prior[0] * prior[1], prior[1])
    mean = (liked + start) / np.maximum(like_total[:, None] + pseudo, 1e-12)
    against = disliked / np.maximum(dislike_total + options.shrinkage, 1e-12)[:, None]
    return np.asarray(mean - options.dislike_weight * against, dtype=np.float32)


def fit_basis(
    history: History,
    features: Matrix,
    fit_items: NDArray[np.bool_],
    options: EmbeddingOptions,
    *,
    next_item: NextItemOptions | None = None,
) -> Basis:
    """Return a basis fitted on the events of `history` that touch items where `fit_items` is True, and on those items.

    The caller passes past events only; (n_items, n_features) `features` follow history.item_ids. With `next_item`, the
    settings of the next-item model, the basis has what the field `collaborative` needs.
    """
    mean, content_map = fit_content(features[fit_items], options)
    content = np.asarray((features - mean) @ content_map, dtype=np.float32)
    likes = history.where(fit_items[history.item_index] & (history.weight > 0))
    weight = decayed_weights(likes, options.half_life_days)
    shape = (len(history.user_ids), len(history.item_ids))
    matrix = sp.csr_matrix((weight, (likes.user_index, likes.item_index)), shape=shape)
    factors = fit_factors(matrix, options.collaborative_dim)
    liked = np.asarray((matrix > 0).sum(0)).ravel() >= 3
    known = np.flatnonzero(liked & fit_items)
    factor_map = fit_factor_map(content[known], factors[known])
    unscaled = Basis(
        options=options,
        encoder=encoder_name(options),
        content_mean=mean,
        content_map=content_map,
        factor_map=factor_map,
        item_ids=tuple(history.item_ids[k] for k in known),
        item_factors=factors[known],
        center=np.zeros(options.dim, dtype=np.float32),
        scale=np.ones(options.dim, dtype=np.float32),
    )
    if next_item is not None:
        unit_content = unscaled.item_vectors(features, history.item_ids)[:, : options.content_dim]
        maps = fit_maps(likes, unit_content, known, next_item, options.next_item_dim)
        unscaled = replace(unscaled, maps=maps)
    return _with_population(unscaled, likes, features)


def embed_users(
    history: History,
    basis: Basis,
    features: Matrix,
    asked: Mapping[str, int] | None = None,
    *,
    now: NDArray[np.int64] | None = None,
    foresight: Foresight | None = None,
    rated: RatedPictures | None = None,
) -> PreferenceTable:
    """Return the preferences of every user of `history`, also of those without events (the prior's).

    `asked` names further fields that models need, with the most rows of each (`asked_of_users`). `now` is when each
    user is asked about, in seconds since 1970; by default at the newest event of all. `foresight` says what is expected
    of each user, where that is asked; `rated` are ratings of pictures, which enter the vectors.
    """
    if now is None:
        now = np.full(len(history.user_ids), history.timestamp.max(initial=0))
    items = basis.item_vectors(features, history.item_ids)
    return embed_by_items(history, basis, items, asked or {}, now=now, foresight=foresight, rated=rated)


def embed_by_items(
    history: History,
    basis: Basis,
    items: Matrix,
    asked: Mapping[str, int],
    *,
    now: NDArray[np.int64],
    foresight: Foresight | None,
    rated: RatedPictures | None = None,
) -> PreferenceTable:
    """Return what `embed_users` does, of (n_items, dim) items in the basis: for few of many users at a time."""
    terms = _terms(history, basis, rated)
    raw = raw_user_vectors(history, items, basis.options, prior=basis.priors_of(history), ratings=terms)
    counts = np.bincount(history.user_index, minlength=len(history.user_ids)).astype(np.int32)
    weight = decayed_weights(history, basis.options.half_life_days)
    return PreferenceTable(
        history.user_ids,
        basis.standardise(raw),
        counts if terms is None else counts + terms.count,
        top_events(history, weight, basis.options.n_top_events, ratings=terms),
        basis.version,
        user_fields(history, basis, items, Moments.of_users(history, now), asked, foresight),
    )


def _terms(history: History, basis: Basis, rated: RatedPictures | None) -> RatingTerms | None:
    """Return what ratings add to the sums of a history's users."""
    if rated is None:
        return None
    newest = np.zeros(len(history.user_ids), dtype=np.int64)
    np.maximum.at(newest, history.user_index, history.timestamp)
    options = basis.options
    return rating_terms(rated, history.user_ids, newest, half_life_days=options.half_life_days, dim=options.dim)


def vectors_before_events(history: History, basis: Basis, features: Matrix) -> Matrix:
    """Return (n_events, dim): the user's vector as it was known before each event (events at the same second excluded).

    The point-in-time join of training pairs: row k never sees event k, nor anything later.
    """
    everything = np.ones((1, len(history.timestamp)), dtype=np.bool_)
    vectors: Matrix = _vectors_before_events(history, basis, features, everything)[0]
    return vectors


def variants_before_events(history: History, basis: Basis, features: Matrix, *, count: int, seed: int) -> Matrix:
    """Return (count, n_events, dim): `vectors_before_events` of people of whom less is known.

    Each variant keeps a random half of the events, for all its rows the same one, and ages count back from the newest
    event that it kept. A generator that has seen them knows what to draw from a short history. What is kept of a
    user's events follows from the seed, the user's place and the number of events before.
    """
    kept = np.empty((count, len(history.timestamp)), dtype=np.bool_)
    for user, (start, stop) in enumerate(itertools.pairwise(history.bounds.tolist())):
        chance = np.random.default_rng([seed, user]).random((stop - start, count))
        kept[:, start:stop] = chance.T < _KEPT_IN_SUBSETS
    return _vectors_before_events(history, basis, features, kept)


def _vectors_before_events(history: History, basis: Basis, features: Matrix, kept: NDArray[np.bool_]) -> Matrix:
    """Return (n_variants, n_events, dim) vectors from the events that `kept` (n_variants, n_events) marks."""
    items = basis.item_vectors(features, history.item_ids).astype(np.float64)
    out = np.empty((*kept.shape, basis.options.dim), dtype=np.float32)
    means, pseudo = basis.priors_of(history)
    for user, (start, stop) in enumerate(itertools.pairwise(history.bounds.tolist())):
        rows, prior = slice(start, stop), (means[user], pseudo)
        _fill_user(out[:, rows], items[history.item_index[rows]], history, rows, basis.options, prior, kept[:, rows])
    return basis.standardise(out)


def _fill_user(
    out: Matrix,
    items: NDArray[np.float64],
    history: History,
    rows: slice,
    options: EmbeddingOptions,
    prior: tuple[Matrix, Matrix],
    kept: NDArray[np.bool_],
) -> None:
    """Write the raw vectors before each of one user's events: one walk through them for all variants."""
    shape, (start, pseudo) = (len(kept), 2, options.dim), prior
    times, weights = history.timestamp[rows], history.weight[rows]
    sums, totals = np.zeros(shape), np.zeros(shape[:2])
    known, clocks = 0, [int(times[0]) if len(times) else 0] * len(kept)
    for k, now in enumerate(times):
        while times[known] < now:
            side = 0 if weights[known] > 0 else 1
            for variant in np.flatnonzero(kept[:, known]).tolist():
                fade = 2.0 ** (-(times[known] - clocks[variant]) / (DAY_SEC * options.half_life_days))
                clocks[variant] = int(times[known])
                sums[variant] *= fade
                totals[variant] *= fade
                sums[variant, side] += abs(weights[known]) * items[known]
                totals[variant, side] += abs(weights[known])
            known += 1
        likes, dislikes = totals.T[..., None]
        mean = (sums[:, 0] + pseudo * start) / np.maximum(likes + pseudo, 1e-12)
        against = sums[:, 1] / np.maximum(dislikes + options.shrinkage, 1e-12)
        out[:, k] = mean - options.dislike_weight * against


def _matrix(history: History, weight: NDArray[np.float64]) -> sp.csr_matrix:
    """Return (n_users, n_items) sums of the events' weights."""
    shape = (len(history.user_ids), len(history.item_ids))
    return sp.csr_matrix((weight, (history.user_index, history.item_index)), shape=shape)


def _weighted_sums(weights: sp.csr_matrix, item_vectors: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return per user the weighted sum of item vectors (n_users, dim) and the total weight (n_users,)."""
    return np.asarray(weights @ item_vectors.astype(np.float64)), np.asarray(weights.sum(1)).ravel()


def _with_population(basis: Basis, likes: History, features: Matrix) -> Basis:
    """Return the basis with the mean and spread of the vectors of users who have likes, and the priors that are set."""
    vectors, people = basis.item_vectors(features, likes.item_ids), np.unique(likes.user_index)
    raw = raw_user_vectors(likes, vectors, basis.options, prior=None)[people]
    basis = replace(basis, center=raw.mean(0).astype(np.float32))
    if basis.options.estimate_shrinkage:
        basis = with_pseudo_events(basis, _people(likes, vectors, raw, people, basis.options.half_life_days))
    if basis.options.segment_prior and likes.segments:
        basis = with_segments(basis, raw, [likes.segments[user] for user in people])
    shrunk = raw_user_vectors(likes, vectors, basis.options, prior=basis.priors_of(likes))[people]
    scale = np.ones(basis.options.dim, dtype=np.float32)
    for half in (half for half in basis.halves if half.stop > half.start):
        scale[half] = max(float(shrunk[:, half].std(0).mean()), 1e-6)
    return replace(basis, scale=scale)


def _people(likes: History, vectors: Matrix, raw: Matrix, people: NDArray[np.int64], half_life_days: float) -> Groups:
    """Return the decayed likes of `people`, whose means are `raw`."""
    weight = decayed_weights(likes, half_life_days)
    squares, totals = _weighted_sums(_matrix(likes, weight), vectors**2)
    of_squares = np.bincount(likes.user_index, weight**2, minlength=len(totals))
    return Groups(raw, squares[people], totals[people], (totals[people] ** 2) / of_squares[people])


def top_events(
    history: History,
    weight: NDArray[np.float64],
    count: int,
    *,
    totals: NDArray[np.float64] | None = None,
    ratings: RatingTerms | None = None,
) -> tuple[str, ...]:
    """Return per user, as JSON, the `count` events of the largest share of the total absolute weight, largest first.

    `totals` (n_users,) are given where the history holds a user's newest events alone. An event of the `ratings` has an
    asset_id in the place of an item_id.
    """
    tops = []
    for user, (start, stop) in enumerate(itertools.pairwise(history.bounds)):
        own = weight[start:stop]
        order = np.argsort(-np.abs(own), kind="stable")[:count]
        total = float(np.abs(own).sum() if totals is None else totals[user]) or 1.0
        if ratings is not None and user in ratings.events:
            tops.append(_top_with_ratings(history, start + order, own[order], total, ratings, user, count))
            continue
        events = [
            {
                "item_id": history.item_ids[history.item_index[start + k]],
                "timestamp": int(history.timestamp[start + k]),
                "weight": round(float(own[k]) / total, 4),
            }
            for k in order
        ]
        tops.append(events_to_json(events))
    return tuple(tops)


def _top_with_ratings(
    history: History,
    places: NDArray[np.int64],
    weight: NDArray[np.float64],
    total: float,
    ratings: RatingTerms,
    user: int,
    count: int,
) -> str:
    """Return `top_events` of one user who rated, from the heaviest events at `places` and all ratings."""
    fade, rated = float(ratings.fade[user]), ratings.events[user]
    events = [
        (
            value * fade,
            {"item_id": history.item_ids[history.item_index[place]], "timestamp": int(history.timestamp[place])},
        )
        for place, value in zip(places.tolist(), weight.tolist(), strict=True)
    ]
    whole = total * fade * bool(len(places)) + sum(abs(value) for value, _ in rated)
    heaviest = sorted([*events, *rated], key=lambda event: -abs(event[0]))[:count]
    return events_to_json([{**told, "weight": round(value / (whole or 1.0), 4)} for value, told in heaviest])
