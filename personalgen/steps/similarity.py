"""How like their histories pictures are, by the measures people know: structure, colour, texture, content and style.

Descriptions, not evidence: they say in which way pictures resemble what people liked, and copying would give the most.
"""

from collections.abc import Sequence

import numpy as np

from personalgen.evaluation import (
    COLOUR,
    CONTENT,
    MIN_USERS,
    MS_SSIM,
    SSIM,
    STYLE,
    TEXTURE,
    Figure,
    HistorySimilarity,
    Interval,
    Pictures,
    Yardstick,
    content_and_style,
    history_similarity,
)
from personalgen.evaluation.interval import flat_intervals
from personalgen.steps.workspace import Workspace

MOST_USERS, MOST_PICTURES, MOST_LIKES = 64, 2, 4
"""People, pictures of each and likes of each that are compared."""
_KEYS = {
    SSIM.name: "ssim",
    MS_SSIM.name: "ms_ssim",
    COLOUR.name: "colour",
    TEXTURE.name: "texture",
    CONTENT.name: "content",
    STYLE.name: "style",
}


def similarities(workspace: Workspace, yardstick: Yardstick, pictures: Pictures) -> tuple[HistorySimilarity, ...]:
    """Return the similarity of people's pictures to their own histories and to those of others, by each measure.

    Empty where nobody told what was trained on, or fewer than 8 people have a history.
    """
    training, options = yardstick.training, workspace.settings.evaluation
    if training is None or pictures.images is None or training.items.images is None:
        return ()
    users = np.flatnonzero(np.diff(training.history.indptr))[:MOST_USERS]
    if len(users) < MIN_USERS:
        return ()
    rows = np.unique(training.history[users].indices)
    likes, liked = training.history[users][:, rows], training.items.images[rows]
    drawn = pictures.images[users, :MOST_PICTURES]
    n_users, k = drawn.shape[:2]
    seen, known = (
        content_and_style(images, px=options.feature_px, batch_size=options.batch_size, threads=options.threads)
        for images in (drawn.reshape(-1, *drawn.shape[2:]), liked)
    )
    by_measure = {measure.name: (measure, drawn, liked) for measure in (SSIM, MS_SSIM, COLOUR, TEXTURE)}
    by_measure |= {
        measure.name: (measure, getattr(seen, name).reshape(n_users, k, -1), getattr(known, name))
        for measure, name in ((CONTENT, "content"), (STYLE, "style"))
    }
    return tuple(
        history_similarity(
            of_drawn,
            (of_liked, likes),
            measure,
            max_history=MOST_LIKES,
            confidence=options.confidence,
            seed=options.seed,
        )
        for measure, of_drawn, of_liked in by_measure.values()
    )


def similarity_numbers(found: Sequence[HistorySimilarity]) -> dict[str, float]:
    """Return flat names and numbers: how much nearer the own history is, and both sides of it."""
    named: dict[str, Interval | None] = {}
    for each in found:
        key, nearest = _KEYS[each.measure], each.nearest
        named |= {f"{key}_nearer": nearest.nearer, f"{key}_own": nearest.own, f"{key}_others": nearest.others}
    return flat_intervals(named)


def similarity_figures(found: Sequence[HistorySimilarity]) -> tuple[Figure, ...]:
    """Return a row of the report for each measure, beside the same with other people's histories."""
    return tuple(
        Figure(
            f"{each.measure} to the nearest like",
            each.nearest.own,
            each.nearest.others,
            "other users' likes",
            f"Own likes are nearer by {each.nearest.nearer}; {len(each.users)} users. How alike, not how good.",
        )
        for each in found
    )
