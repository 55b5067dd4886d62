"""The knobs of sampling as a curve, measured for tonight's model, and the point at which it is drawn and released."""

import itertools
from pathlib import Path

import numpy as np

from personalgen.evaluation import CurvePoint, Yardstick, choose_point, kid, preference_gain
from personalgen.evaluation.options import MIN_USERS
from personalgen.generation.options import OperatingPoint
from personalgen.steps.embed import Embedded
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import pictures_of

CURVE = "curve.json"


def operating_point_of(
    workspace: Workspace, night: Night, embedded: Embedded, folder: Path, yardstick: Yardstick
) -> tuple[OperatingPoint, list[CurvePoint], str]:
    """Return where a model is drawn tonight, the curve behind that, and why; the settings' point where no other is set.

    The curve is measured on people of the judge split, so that those of the test split say what the chosen point is
    worth without having chosen it. Where fewer than 8 of them are judged, on everybody.
    """
    settings = workspace.settings
    point, options = settings.generation.operating_point, settings.evaluation
    tried = itertools.product(
        dict.fromkeys((point.guidance, *options.guidances)), dict.fromkeys((point.truncation_psi, *options.truncations))
    )
    asked = [OperatingPoint(guidance, psi, point.strengths) for guidance, psi in tried]
    if len(asked) == 1:
        return point, [], ""
    users = np.flatnonzero(yardstick.selection.is_judge_user)
    users = users if len(users) >= MIN_USERS else np.arange(yardstick.n_users)
    report = workspace.report("operating point")
    curve = []
    for k, at in enumerate(asked):
        pictures = pictures_of(workspace, night, embedded, folder, yardstick, point=at)
        scores = yardstick.scores(pictures.features, pictures.images)[np.ix_(users, users)]
        fit = preference_gain(scores, yardstick.real_scores[np.ix_(users, users)], options=options)
        rows = pictures.features[users]
        groups = np.repeat(np.arange(len(users)), rows.shape[1])
        distance = kid(yardstick.real_features(), rows.reshape(-1, rows.shape[-1]), groups=groups)
        npg = fit.npg.value if fit.npg else None
        curve.append(CurvePoint(at.guidance, at.truncation_psi, distance, fit.gain, npg))
        report(k + 1, len(asked))
    chosen, why = choose_point(curve)
    return OperatingPoint(chosen.guidance, chosen.truncation_psi, point.strengths), curve, why


def curve_numbers(point: CurvePoint) -> dict[str, float]:
    """Return one point of a curve as flat names and numbers."""
    found = {"guidance": point.guidance, "truncation_psi": point.truncation_psi}
    found |= {"kid": point.kid.value, "kid_low": point.kid.low, "kid_high": point.kid.high}
    found |= {"gain": point.gain.value, "gain_low": point.gain.low, "gain_high": point.gain.high}
    return found if point.npg is None else found | {"npg": point.npg}
