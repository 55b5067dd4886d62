"""People compare two models without knowing which drew what: pairs, a filled table, strengths; as in a notebook.

    python examples/blind_choices.py build/blind

Trains a small model on the simulated world of shapes, then a longer one that starts from it. The voter is simulated
too: it prefers the picture whose colour is nearer to what the person liked. Put people, and their tables, in its place.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from personalgen import steps
from personalgen.config import load_settings

CONFIG = Path(__file__).with_name("one_model.toml")


def trained(home: Path, overrides: Sequence[str]) -> tuple[steps.Workspace, steps.Night, steps.Embedded, steps.Trained]:
    """Prepare, embed and train in a home."""
    workspace = steps.Workspace(load_settings(CONFIG, [f"home={home}", *overrides]))
    night = steps.prepare(workspace)
    embedded = steps.embed(workspace, night, steps.recommend(workspace, night))
    return workspace, night, embedded, steps.train(workspace, night, embedded)


def simulated_voter(picture: Path) -> str:
    """Return the side whose mean colour is nearer to that of the history on top, white paper aside."""
    pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=np.float64)
    liked, left, right = pixels[44:140], pixels[-336:-16, 16:336], pixels[-336:-16, 352:672]
    far = [np.square(colour(side) - colour(liked)).sum() for side in (left, right)]
    return "left" if far[0] < far[1] else "right" if far[1] < far[0] else "tie"


def colour(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of all pixels that are not nearly white."""
    return np.asarray(pixels[pixels.min(axis=-1) < 240].mean(axis=0))


def main(home: str, overrides: Sequence[str] = ()) -> steps.Outcome | None:
    """Return what a simulated voter's choices say of the longer training over the shorter one."""
    *_, first = trained(Path(home) / "first", [*overrides, "train.max_kimg=1"])
    workspace, night, embedded, second = trained(Path(home) / "second", [*overrides, f"snapshot={first.folder}"])
    evaluated = steps.evaluate(workspace, night, embedded, second)
    pairs = steps.prepare_pairs(workspace, night, embedded, second, evaluated)
    rows = [f"{pair.name},{simulated_voter(pairs.folder / pair.picture)},simulated" for pair in pairs.pairs]
    table = pairs.folder / "filled.csv"
    table.write_text("\n".join(["pair,choice,voter", *rows]), encoding="utf-8")
    steps.store_choices(workspace, night, steps.read_choices(pairs, table, source="notebook"))
    return steps.outcome(workspace, pairs)


if __name__ == "__main__":
    print(main(*sys.argv[1:2] or ["build/blind"]))  # noqa: T201 - what the script is for
