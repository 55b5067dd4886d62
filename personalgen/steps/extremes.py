"""Whom tonight's pictures suit best, middling and worst: the mean of a crowd hides who is badly served."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from personalgen.evaluation import Pictures, SheetRow, Yardstick, contact_sheet
from personalgen.generation.safety import Screen, blanked
from personalgen.steps.data import NightData

EXTREMES = "evaluation.png"
_SHOWN = 8
"""Most likes and most pictures of a person."""


def extremes_sheet(
    data: NightData, yardstick: Yardstick, pictures: Pictures, per_user: Sequence[float], screen: Screen | None = None
) -> Image.Image:
    """Return people whose pictures fit best, middling and worst, with what they liked; `per_user` is their gain.

    Pictures that the screen refuses are blank.
    """
    order = np.argsort(-np.asarray(per_user), kind="stable")
    middle = len(order) // 2
    places = {"best": order[:3], "median": order[middle - 1 : middle + 1], "worst": order[-3:]}
    images, history = np.asarray(data.prepared.images), data.history
    rows = []
    for name, users in places.items():
        for user in users.tolist():
            person = yardstick.selection.user_index[user]
            own = history.item_index[(history.user_index == person) & (history.weight > 0)]
            caption = f"{name} · fit less control {per_user[user]:+.3f}"
            drawn = [] if pictures.images is None else list(blanked(pictures.images[user], screen))
            rows.append(SheetRow(caption, list(images[own[::-1][:_SHOWN]]), drawn))
    return contact_sheet(rows, max_history=_SHOWN, max_generated=_SHOWN, header=("liked", "drawn"))
