"""The knobs of sampling as a curve, measured for tonight's model, and the point at which it is drawn and released."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import read_json
from personalgen.evaluation import (
    MIN_USERS,
    CurvePoint,
    EvaluationOptions,
    Interval,
    Pictures,
    Yardstick,
    choose_point,
    kid,
    of_users,
    preference_gain,
)
from personalgen.generation.options import OperatingPoint
from personalgen.models import load_card
from personalgen.steps.embed import Embedded
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import pictures_of

CURVE = "curve.json"


@dataclass(frozen=True)
class Chosen:
    """Where a model is drawn tonight, and why."""

    point: OperatingPoint
    """Of the fields that the model has."""
    curve: list[CurvePoint]
    """Empty where no other point was tried."""
    why: str
    yardstick: Yardstick
    """That of the people who did not choose."""


def operating_point_of(
    workspace: Workspace, night: Night, embedded: Embedded, folder: Path, yardstick: Yardstick
) -> Chosen:
    """Return where a model is drawn tonight: the settings' point where no other is named.

    The curve is measured on people of the judge split, and what the chosen point is worth on the others alone: whoever
    chooses would find any noise an improvement. Where fewer than 8 are on either side, nothing is chosen.
    """
    settings = workspace.settings
    names = load_card(folder).spec.names
    point, options = settings.generation.operating_point.among(names), settings.evaluation
    tried = itertools.product(
        dict.fromkeys((point.guidance, *options.guidances)), dict.fromkeys((point.truncation_psi, *options.truncations))
    )
    asked = [OperatingPoint(guidance, psi, point.strengths) for guidance, psi in tried]
    users = np.flatnonzero(yardstick.selection.is_judge_user)
    others = np.flatnonzero(~yardstick.selection.is_judge_user)
    if len(asked) == 1:
        return Chosen(point, [], "", yardstick)
    if min(len(users), len(others)) < MIN_USERS:
        why = f"{len(users)} people could choose and {len(others)} judge the choice; {MIN_USERS} of both are needed"
        return Chosen(point, [], f"the settings' point: {why}", yardstick)
    report = workspace.report("operating point")
    curve = []
    for k, at in enumerate(asked):
        pictures = pictures_of(workspace, night, embedded, folder, yardstick, point=at)
        curve.append(_measured_at(at, pictures, yardstick, users, options))
        report(k + 1, len(asked))
    chosen, why = choose_point(curve)
    point = OperatingPoint(chosen.guidance, chosen.truncation_psi, point.strengths)
    return Chosen(point, curve, why, of_users(yardstick, others, options=options))


def _measured_at(
    at: OperatingPoint, pictures: Pictures, yardstick: Yardstick, users: NDArray[np.int64], options: EvaluationOptions
) -> CurvePoint:
    """Return one point of the curve, for some of the people."""
    scores = yardstick.scores(pictures.features, pictures.images)[np.ix_(users, users)]
    fit = preference_gain(scores, yardstick.real_scores[np.ix_(users, users)], options=options)
    rows = pictures.features[users]
    flat, groups = rows.reshape(-1, rows.shape[-1]), np.repeat(np.arange(len(users)), rows.shape[1])
    distance = kid(yardstick.real_features(), flat, groups=groups, confidence=options.confidence)
    return CurvePoint(at.guidance, at.truncation_psi, distance, fit.gain, fit.npg.value if fit.npg else None)


def read_curve(path: Path) -> list[CurvePoint]:
    """Return the points that were written as `curve_numbers`; none where there is no file."""
    rows = read_json(path) if path.is_file() else []
    return [
        CurvePoint(
            row["guidance"],
            row["truncation_psi"],
            Interval(row["kid"], row["kid_low"], row["kid_high"]),
            Interval(row["gain"], row["gain_low"], row["gain_high"]),
            row.get("npg"),
        )
        for row in rows
    ]


def curve_numbers(point: CurvePoint) -> dict[str, float]:
    """Return one point of a curve as flat names and numbers."""
    found = {"guidance": point.guidance, "truncation_psi": point.truncation_psi}
    found |= {"kid": point.kid.value, "kid_low": point.kid.low, "kid_high": point.kid.high}
    found |= {"gain": point.gain.value, "gain_low": point.gain.low, "gain_high": point.gain.high}
    return found if point.npg is None else found | {"npg": point.npg}
