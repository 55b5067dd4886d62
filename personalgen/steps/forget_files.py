"""Takes people out of the files that nights keep: tables, plans, blind pairs, contact sheets."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, read_json, read_manifest, remove_temporaries, seal_folder
from personalgen.steps.rated import FEATURES
from personalgen.steps.recommend import RECOMMENDATIONS, USER_NEIGHBOURS
from personalgen.steps.report import HTML, SHEET, SHOWN
from personalgen.steps.vote import forget_in_pairs
from personalgen.steps.workspace import Workspace
from personalgen.training.job import PAIRS

Counts = dict[str, Counter[str]]
"""How many of each kind of thing were rewritten or deleted, by person."""

_TABLES = {
    "embed/**/*.parquet": ("user_id",),
    "recommend/**/*.parquet": ("user_id",),
    f"recommend/{RECOMMENDATIONS}": ("id",),
    f"recommend/{USER_NEIGHBOURS}": ("id", "found"),
}
"""Tables below a night's folder, and the columns in which they may name a person."""
_MADE_AGAIN = (f"train/{PAIRS}", "plan-*.parquet", "manual-*.parquet", "embed/*/recommender")
"""What a night makes again if it is needed: what to train on, whom to draw for, and what a model was told by."""
MARK = "forgetting.tmp"
"""Stands in a prepared folder while it is rewritten: its seal does not fit then."""


def forget_in_files(workspace: Workspace, people: Collection[str]) -> Counts:
    """Take people out of every file of a night that may name them; return what was done for each."""
    counts: Counts = defaultdict(Counter)
    remove_temporaries(workspace.data)
    for path in sorted((workspace.data / "prepared").glob("*/manifest.json")):
        _count(counts, "prepared tables", _from_prepared(path.parent, people))
    for pattern, columns in _TABLES.items():
        for path in sorted((workspace.data / "nights").glob(f"*/{pattern}")):
            _count(counts, "tables of nights", _from_table(path, people, columns))
    for pattern in _MADE_AGAIN:
        for path in sorted((workspace.data / "nights").glob(f"*/{pattern}")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            _count(counts, "files that are made again", people)
    for folder in sorted(
        (workspace.data / "features").glob(f"{FEATURES}*")
    ):  # of pictures, some of them these people's
        shutil.rmtree(folder)
        _count(counts, "files that are made again", people)
    for user_id, count in forget_in_pairs(workspace, people).items():
        counts[user_id]["blind pairs"] += count
    return counts


def sheets_of(workspace: Workspace, people: Collection[str]) -> dict[str, list[str]]:
    """Return, for each person, the folders of reports whose contact sheet shows them, or shows nobody knows whom."""
    found: dict[str, list[str]] = defaultdict(list)
    for sheet in sorted((workspace.data / "reports").glob(f"*/{SHEET}")):
        path = sheet.with_name(SHOWN)
        shown = read_json(path) if path.is_file() else list(people)
        for user_id in set(shown) & set(people):
            found[user_id].append(sheet.parent.name)
    return found


def remove_sheets(workspace: Workspace, folders: Collection[str]) -> None:
    """Remove the contact sheets of reports, and the pages that hold a copy; who was shown goes last."""
    for folder in folders:
        for name in (SHEET, HTML, SHOWN):
            (workspace.data / "reports" / folder / name).unlink(missing_ok=True)


def _count(counts: Counts, kind: str, people: Collection[str]) -> None:
    for user_id in people:
        counts[user_id][kind] += 1


def _from_prepared(folder: Path, people: Collection[str]) -> set[str]:
    """Rewrite a sealed folder without people, and seal it again; return who of them was there."""
    mark = folder / MARK
    was_cut, found = mark.exists(), set[str]()
    for path in sorted(folder.glob("*.parquet")):
        found |= _from_table(path, people, ("user_id",), before=mark.touch)
    if mark.exists():
        seal_folder(folder, read_manifest(folder) or {})
        mark.unlink()
    return set(people) if was_cut else found


def _names(path: Path, people: Collection[str], columns: tuple[str, ...]) -> tuple[NDArray[np.bool_], set[str]]:
    """Return which rows of a table name one of the people, and who is named."""
    wanted, found = pa.array(sorted(people), pa.string()), set[str]()
    table = pq.read_table(path, columns=[name for name in columns if name in pq.read_schema(path).names])
    own = np.zeros(len(table) if table.column_names else 0, dtype=np.bool_)
    for name in table.column_names:
        column = table[name].cast(pa.string())
        here = pc.fill_null(pc.is_in(column, value_set=wanted), fill_value=False)
        found |= set(pc.unique(column.filter(here)).to_pylist())
        own |= here.to_numpy()
    return own, found


def _from_table(
    path: Path,
    people: Collection[str],
    columns: tuple[str, ...],
    *,
    before: Callable[[], None] = lambda: None,
) -> set[str]:
    """Rewrite a table without the rows that name people, calling `before` first; return who was named."""
    own, found = _names(path, people, columns)
    if found:
        before()
        table = pq.read_table(path)
        with atomic_path(path) as temporary:
            pq.write_table(table.filter(pa.array(~own)), temporary, compression="zstd")
    return found
