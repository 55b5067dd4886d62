"""Draws a share of the users with a challenger that the gate let through, and compares, before all users are drawn.

Its images are made as any night's and stay catalogued, but nobody's current image is one of them before the release.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from personalgen.artifacts import canonical_json
from personalgen.catalogue import planning, read, write
from personalgen.catalogue.places import places
from personalgen.catalogue.refusals import were_refused
from personalgen.catalogue.rows import ModelVersion
from personalgen.errors import DataError
from personalgen.evaluation import Interval, between_difference, fit_difference, mean_interval, of_users
from personalgen.generation.options import OperatingPoint
from personalgen.generation.plan import condition_digest, sampled
from personalgen.generation.safety import load_screen
from personalgen.generation.sampler import Sampler
from personalgen.generation.shards import read_member
from personalgen.models import load_card, load_generator
from personalgen.registry.canary import CanaryFigures, decide_canary
from personalgen.registry.promotion import Difference, Verdict
from personalgen.registry.run import Run
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.generate import draw_missing, operating_point
from personalgen.steps.night import Night, run_stage
from personalgen.steps.promote import Decided, tag_verdict
from personalgen.steps.told import Told, told_of
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import draw, judged_pictures, yardstick_of

KIND = "plan-canary"
"""How the plan of a canary is named."""
_CHUNK_USERS = 4096
"""Whose pictures are in memory at a time when a safety filter looks at them."""
Rows = NDArray[np.int64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Canaried:
    """What the canary found; not tried where there was no challenger to try, or nothing to compare it with."""

    stage: ClassVar[str] = "canary"

    tried: bool
    promote: bool
    reasons: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    """Challenger less champion with the ends of the intervals, and how many users were drawn for and judged."""
    n_assets: int = 0
    """Images of the challenger that were made for it."""
    champion_id: int = 0
    """Catalogue id of the model that it was compared with."""
    champion_version: int = 0


def canary(workspace: Workspace, night: Night, embedded: Embedded, decided: Decided) -> Decided:
    """Return the decision as it stands after the canary; without `gate.canary_share` the gate's own."""
    return after(
        decided, run_stage(workspace, night, Canaried, lambda run: _run(workspace, night, embedded, decided, run))
    )


def after(decided: Decided, found: Canaried) -> Decided:
    """Return the decision with what the canary says: one that holds leaves the champion to draw."""
    told = replace(decided, reasons=(*decided.reasons, *found.reasons), canary=found.figures)
    if not found.tried or found.promote:
        return told
    return replace(told, promote=False, model_version_id=found.champion_id, version=found.champion_version)


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two models: what draws, what it is told, and where."""

    model: ModelVersion
    told: Told
    point: OperatingPoint


def _run(workspace: Workspace, night: Night, embedded: Embedded, decided: Decided, run: Run) -> Canaried:
    share, live = workspace.settings.gate.canary_share, workspace.live()
    if not decided.promote or not share:
        return Canaried(tried=False, promote=decided.promote)
    if live is None:
        return Canaried(tried=False, promote=True, reasons=("no canary: nothing is live to compare with",))
    challenger = _side(workspace, night, embedded, decided.model_version_id, operating_point(workspace, decided))
    champion = _side(workspace, night, embedded, live.model_version_id, OperatingPoint(**live.operating_point))
    rows = canary_rows(workspace, night, challenger.told, share=share, version=decided.version)
    users = frozenset(challenger.told.table.user_ids[row] for row in rows.tolist())
    model, point = challenger.model, challenger.point
    made = draw_missing(workspace, night, embedded, model, point, run_id=run.run_id, kind=KIND, users=users, move=False)
    figures = _figures(workspace, night, challenger, champion, rows)
    verdict = decide_canary(figures)
    _tell(workspace, decided, figures, verdict, run)
    return Canaried(
        True, verdict.promote, verdict.reasons, figures.numbers(), made[2], live.model_version_id, live.version
    )


def _side(workspace: Workspace, night: Night, embedded: Embedded, model_id: int, point: OperatingPoint) -> Side:
    told = told_of(workspace, night, embedded, workspace.model_folder(model_id))
    return Side(read.model_by_id(workspace.engine, model_id), told, point)


def canary_rows(workspace: Workspace, night: Night, told: Told, *, share: float, version: int) -> Rows:
    """Return the rows of tonight's table that are drawn first: a share of those who get images."""
    ids, silent = told.table.user_ids, read.silent_users(workspace.engine)
    keys = write.allocate_user_keys(workspace.engine, ids, night_id=night.night_id)
    hears = np.array([key not in silent for key in keys.tolist()], dtype=np.bool_)
    return np.asarray(np.flatnonzero(hears & sampled(ids, share=share, version=version)), dtype=np.int64)


def _tell(workspace: Workspace, decided: Decided, figures: CanaryFigures, verdict: Verdict, run: Run) -> None:
    """Write the figures on the run, and with the verdict on the model version."""
    run.log_metrics(figures.numbers())
    run.set_tags({"canary": "passed" if verdict.promote else "held"})
    workspace.registry.tag(decided.version, "canary", "passed" if verdict.promote else "held")
    workspace.registry.tag(decided.version, "canary_figures", canonical_json(figures.numbers()))
    reasons = (*decided.reasons, *verdict.reasons)
    tag_verdict(workspace, decided.version, Verdict(promote=verdict.promote, reasons=reasons))


def _figures(workspace: Workspace, night: Night, challenger: Side, champion: Side, rows: Rows) -> CanaryFigures:
    """Return challenger less champion over the users of these rows."""
    refused = _refused_difference(workspace, night, challenger, champion, rows)
    try:
        return _judged(workspace, night, challenger, champion, rows, refused)
    except DataError as error:
        missing = f"{error} Raise gate.canary_share, or set it to 0."
        return CanaryFigures(len(rows), 0, refused=refused, missing=missing)


def _judged(
    workspace: Workspace, night: Night, challenger: Side, champion: Side, rows: Rows, refused: Difference | None
) -> CanaryFigures:
    """Return the figures with fit and diversity, on those who like held-out items and whose pictures are all there."""
    data, options = NightData.of(workspace, night), workspace.settings.evaluation
    among = np.zeros(len(data.history.user_ids), dtype=np.bool_)
    among[rows] = True
    yardstick = yardstick_of(workspace, data, among)
    pictures, whole = _seen(workspace, night, challenger, yardstick.selection.user_index)
    if (n := int(whole.sum())) < (least := workspace.settings.gate.min_users):
        raise DataError(f"{n} of its users can be judged, fewer than gate.min_users = {least}.")
    yardstick = of_users(yardstick, np.flatnonzero(whole), options=options)
    per_user = workspace.settings.generation.variants
    drawn = _drawn(workspace, champion, yardstick.selection.user_index)
    first, second = (judged_pictures(workspace, images, per_user) for images in (pictures, drawn))
    scores = yardstick.scores(first.features, first.images) - yardstick.scores(second.features, second.images)
    between = between_difference(
        first.features,
        second.features,
        yardstick.items.features,
        yardstick.selection.held_out_likes,
        n_resamples=options.bootstrap,
        confidence=options.confidence,
        seed=options.seed,
    )
    fit = _difference(fit_difference(scores, options))
    return CanaryFigures(len(rows), n, fit, _difference(between) if between else None, refused)


def _drawn(workspace: Workspace, side: Side, rows: Rows) -> Pixels:
    """Return (n * k, R, R, 3) pictures of a model for these users, catalogued nowhere."""
    generator, _ = load_generator(workspace.model_folder(side.model.model_version_id))
    options = workspace.settings.generation
    sampler = Sampler(generator, batch_size=options.batch_size, operating_point=side.point)
    return draw(sampler, [side.told(rows, variant) for variant in range(options.variants)])


def _seen(workspace: Workspace, night: Night, side: Side, rows: Rows) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return the catalogued pictures (n * k, R, R, 3) of those users who have all of theirs, and (n,) who these are."""
    card = load_card(workspace.model_folder(side.model.model_version_id))
    found = np.stack(
        [_assets(workspace, night, side, rows, variant) for variant in range(_n_variants(workspace))], axis=1
    )
    whole = (found != planning.MISSING).all(axis=1)
    pixels = np.empty((found[whole].size, *(card.options.resolution,) * 2, 3), dtype=np.uint8)
    with places(workspace.engine) as known:
        for k, asset_id in enumerate(found[whole].ravel().tolist()):
            path, _, offset, length, crc32 = known.find(asset_id)
            data = read_member(workspace.shard_root, path, offset=offset, byte_length=length, crc32=crc32)
            pixels[k] = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    return pixels, whole


def _assets(workspace: Workspace, night: Night, side: Side, rows: Rows, variant: int) -> NDArray[np.int64]:
    """Return (n,) ids of tonight's images of these users, or MISSING."""
    return planning.assets_present(
        workspace.engine,
        side.model.generator_digest,
        side.point.digest(),
        **_keys(workspace, night, side, rows, variant),
    )


def _keys(workspace: Workspace, night: Night, side: Side, rows: Rows, variant: int) -> dict[str, Any]:
    """Return what names these users' images of tonight."""
    told, card = side.told(rows, variant), load_card(workspace.model_folder(side.model.model_version_id))
    return {
        "user_keys": write.allocate_user_keys(workspace.engine, told.user_ids, night_id=night.night_id),
        "condition_digests": np.array(
            [condition_digest(row) for row in told.condition_rows(card.spec)], dtype=np.int64
        ),
        "variants": np.full(len(rows), variant, dtype=np.int64),
    }


def _refused_difference(
    workspace: Workspace, night: Night, challenger: Side, champion: Side, rows: Rows
) -> Difference | None:
    """Return the difference of users' shares of refused pictures; None where no filter looks, or for fewer than two."""
    screen = load_screen(workspace.settings.safety)
    if screen is None or len(rows) < 2:
        return None
    asked = challenger.model.generator_digest, challenger.point.digest()
    shares = []
    for some in _chunks(rows):
        mine = np.mean(
            [
                were_refused(workspace.engine, *asked, rule=screen.rule, **_keys(workspace, night, challenger, some, k))
                for k in range(_n_variants(workspace))
            ],
            axis=0,
        )
        theirs = screen.scores(_drawn(workspace, champion, some)) >= screen.threshold
        shares.append(mine - theirs.reshape(len(some), -1).mean(axis=1))
    return _difference(mean_interval(np.concatenate(shares), workspace.settings.evaluation.confidence))


def _chunks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _CHUNK_USERS):
        yield rows[start : start + _CHUNK_USERS]


def _n_variants(workspace: Workspace) -> int:
    return workspace.settings.generation.variants


def _difference(interval: Interval) -> Difference:
    return Difference(interval.value, interval.low, interval.high)
