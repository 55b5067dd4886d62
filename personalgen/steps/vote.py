"""Prepares blind pairs: pictures of tonight's challenger beside those of what it started from, for people held out."""

import csv
import io
import shutil
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from personalgen.artifacts import read_json, short_digest, weights_key, write_bytes
from personalgen.errors import DataError, NotFoundError
from personalgen.evaluation import ReportPicture, pair_picture, write_png, write_report
from personalgen.models import load_card
from personalgen.steps.choices import KEY, PAGE, TABLE, Pair, Pairs, choices_table, table_rows
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.evaluate import Evaluated
from personalgen.steps.heard import name_heard
from personalgen.steps.night import Night, from_json
from personalgen.steps.report import liked_items
from personalgen.steps.train import Trained
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import draw_held_out, held_out
from personalgen.worlds import find_world

N_PAIRS = 24
_HISTORY = 6
_QUESTION = "Which of the two suits this person better: left, right, or is it a tie?"


def votes_folder(workspace: Workspace, night: Night) -> Path:
    """Return where the pairs of a night lie."""
    return workspace.data / "votes" / night.path.name


def prepare_pairs(
    workspace: Workspace,
    night: Night,
    embedded: Embedded,
    trained: Trained,
    evaluated: Evaluated,
    *,
    n_pairs: int = N_PAIRS,
    voter: str = "",
) -> Pairs:
    """Return the night's blind pairs, for at most `n_pairs` held-out people; made once, and the same ever after.

    The folder holds a PNG a pair, a page of them all, the table to fill in and the key. Each model is left in half of
    the pairs, in an order drawn from the night's key. Both draw from the same z at the settings' operating point.

    The table names the voter as users are named, hashed where ids are.

    Raises:
        DataError: there is nothing to compare the challenger with, too few people are held out, or the voter was
            forgotten.
    """
    folder = votes_folder(workspace, night)
    if (folder / KEY).is_file():
        return Pairs.load(folder)
    voter = name_heard(workspace, voter) if voter else ""
    models, data = _models(workspace, embedded, trained, evaluated), NightData.of(workspace, night)
    users = held_out(workspace, data).user_index[:n_pairs]
    challenger, before = (weights_key(load_card(model).generator_sha256) for model in models)
    sides = ((before, challenger) if turned else (challenger, before) for turned in _turned(len(users), night.key))
    pairs = Pairs(
        folder=folder,
        challenger=challenger,
        before=before,
        before_is=evaluated.before_is,
        operating_point_digest=workspace.settings.generation.operating_point.digest(),
        pairs=tuple(
            Pair(f"{folder.name[:6]}-{number}", data.history.user_ids[user], *both)
            for number, (user, both) in enumerate(zip(users, sides, strict=True), 1)
        ),
    )
    drawn = [draw_held_out(workspace, night, embedded, model, users, per_user=1) for model in models]
    _write_pictures(pairs, data, users, dict(zip((challenger, before), drawn, strict=True)))
    _write_page(workspace, pairs)
    write_bytes(folder / TABLE, choices_table(pairs, voter).encode())
    pairs.save()
    return pairs


def pairs_of_table(workspace: Workspace, table: Path) -> tuple[Night, Pairs]:
    """Return the night that a filled table is about, and its pairs: nights may have followed since.

    Raises:
        NotFoundError: there is no such table, or this home holds no pairs of that name.
    """
    first = next((str(row["pair"] or "").strip() for _, row in table_rows(table)), "")
    for key in sorted((workspace.data / "votes").glob(f"*/{KEY}")):
        pairs = Pairs.load(key.parent)
        if any(pair.name.split("-")[0] == first.split("-")[0] for pair in pairs.pairs):
            stored = workspace.data / "nights" / key.parent.name / "prepare.json"
            return from_json(Night, read_json(stored)), pairs
    raise NotFoundError(
        f"{table} starts with pair {first!r}, and no pairs in {workspace.data / 'votes'} have such a name. Give a "
        "table that `personalgen evaluate --vote` wrote in this home. Nothing was stored."
    )


def forget_in_pairs(workspace: Workspace, people: Collection[str]) -> Counter[str]:
    """Take these people's pairs out of every night's, and what they chose themselves out of the tables.

    Returns how many pairs each had. What was cut off is deleted whole.
    """
    gone: Counter[str] = Counter()
    for folder in sorted((workspace.data / "votes").glob("*/")):
        if not (folder / KEY).is_file():
            shutil.rmtree(folder)
            continue
        pairs = Pairs.load(folder)
        kept = replace(pairs, pairs=tuple(pair for pair in pairs.pairs if pair.user_id not in people))
        if len(kept.pairs) < len(pairs.pairs):
            _write_without(workspace, pairs, kept)
        _forget_voters(folder / TABLE, people)
        gone.update(pair.user_id for pair in pairs.pairs if pair.user_id in people)
    return gone


def _write_without(workspace: Workspace, pairs: Pairs, kept: Pairs) -> None:
    """Rewrite page, table and key for the pairs that are kept, and delete the pictures of the others; the key last."""
    names = {pair.name for pair in set(pairs.pairs) - set(kept.pairs)}
    table = pairs.folder / TABLE
    if table.is_file():
        lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        write_bytes(table, "".join(line for line in lines if line.split(",")[0].strip() not in names).encode())
    _write_page(workspace, kept)
    for pair in set(pairs.pairs) - set(kept.pairs):
        (pairs.folder / pair.picture).unlink(missing_ok=True)
    kept.save()


def _forget_voters(table: Path, people: Collection[str]) -> None:
    """Empty the choice and the voter in the rows of a table in which these people are the voter.

    People fill it in with programs of theirs: bytes that are no UTF-8 stay what they are.
    """
    text = table.read_bytes().decode(errors="surrogateescape") if table.is_file() else ""
    rows = list(csv.reader(io.StringIO(text)))
    if any(row[-1].strip() in people for row in rows[1:] if row):
        stream = io.StringIO()
        kept = (row if row[-1].strip() not in people else [row[0], "", ""] for row in rows[1:] if row)
        csv.writer(stream, lineterminator="\n").writerows([rows[0], *kept])
        write_bytes(table, stream.getvalue().encode(errors="surrogateescape"))


def _models(workspace: Workspace, embedded: Embedded, trained: Trained, evaluated: Evaluated) -> tuple[Path, Path]:
    """Return the folders of tonight's challenger and of what it was measured beside."""
    if not evaluated.before_is:
        raise DataError(
            "Blind pairs compare tonight's challenger with the champion or with the snapshot that it started from, and "
            "tonight there is neither. Run the next night, or give a snapshot. Nothing was written."
        )
    is_champion = evaluated.before_is == "champion"
    before = workspace.model_folder(evaluated.champion_id) if is_champion else Path(embedded.start)
    models = Path(trained.folder), before
    if len({load_card(model).generator_sha256 for model in models}) == 1:
        raise DataError(
            f"Tonight's challenger has the weights of the {evaluated.before_is}: every pair would be the same picture "
            "twice. Train further. Nothing was written."
        )
    return models


def _turned(n_pairs: int, night_key: str) -> NDArray[np.bool_]:
    """Return (n_pairs,) whether the challenger is on the right: in half of them, drawn from the night's key."""
    rng = np.random.default_rng(short_digest(f"blind pairs {night_key}".encode()))
    return rng.permutation(np.arange(n_pairs) % 2 == 1)


def _write_pictures(
    pairs: Pairs, data: NightData, users: NDArray[np.int64], drawn: dict[int, NDArray[np.uint8]]
) -> None:
    """Write one PNG a pair; what the person liked last stands on top."""
    shown = np.asarray(data.prepared.images)
    for k, (pair, user) in enumerate(zip(pairs.pairs, users, strict=True)):
        history = list(shown[liked_items(data.history, int(user), _HISTORY)])
        picture = pair_picture(history, drawn[pair.left][k], drawn[pair.right][k], title=f"pair {pair.name}")
        write_png(pairs.folder / pair.picture, picture)


def _write_page(workspace: Workspace, pairs: Pairs) -> None:
    """Write the page that shows all pairs, from their pictures in the folder."""
    world, pictures = workspace.settings.world.name, []
    for pair in pairs.pairs:
        with Image.open(pairs.folder / pair.picture) as picture:
            pictures.append(ReportPicture(f"Pair {pair.name}", picture.copy(), _QUESTION))
    write_report(
        pairs.folder / PAGE,
        title="Blind pairs",
        subtitle=f"Two models drew for the same person. Write left, right or tie beside the pair's name in {TABLE}.",
        figures=[],
        pictures=pictures,
        simulated=f"Users and events of this source were made up. {find_world(world).licence}" if world else "",
    )
