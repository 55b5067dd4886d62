"""Forgets a person: subtracted from what was learnt, taken out of every table that nights keep, with a ledger line."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from personalgen.affinity import AffinityState
from personalgen.artifacts import atomic_path, digest_of, read_manifest, seal_folder
from personalgen.catalogue import read, write
from personalgen.catalogue.facts import ForgottenFacts
from personalgen.recommenders.base import Forgetting
from personalgen.recommenders.stored import load_recommender, save_recommender
from personalgen.steps.recommend import RECOMMENDATIONS, UNCHANGED, USER_NEIGHBOURS
from personalgen.steps.state import AFFINITY, history_of, kept_state, publish, state_folder
from personalgen.steps.workspace import Workspace
from personalgen.training.job import PAIRS

_NAMES, _KEY = ("user_id", "id", "found"), "user_key"
"""Columns in which a table of a night may name a person, by the id or by the catalogue's key."""
_TABLES = (
    "embed/*/*.parquet",
    f"recommend/{RECOMMENDATIONS}",
    f"recommend/{UNCHANGED}",
    f"recommend/{USER_NEIGHBOURS}",
    "plan-*.parquet",
)
"""Where nights keep what they know of users."""


@dataclass(frozen=True)
class Person:
    """Who is to be forgotten."""

    user_id: str
    user_key: int


@dataclass(frozen=True)
class ForgottenPerson:
    """What was done, and when the rest will be."""

    ledger_id: int
    removed: dict[str, int]
    """How many of each kind of thing were rewritten without the person, or deleted."""
    recommender: str
    """When the recommender will have forgotten the person; empty where it had learnt nothing."""
    n_assets: int
    """Images of the person that still lie in shards; nobody is shown them."""


def forget(workspace: Workspace, user_id: str, *, reason: str, actor: str) -> ForgottenPerson:
    """Forget a person, whom no later night reads again; the command may be repeated, and goes on where it was cut.

    Raises:
        NotFoundError: the catalogue knows no such user.
    """
    engine = workspace.engine
    person = Person(user_id, read.user_key(engine, user_id))
    when = _from_state(workspace, user_id)
    removed = Counter({"affinity state": 1} if when else {})
    removed["prepared tables"] = sum(_from_prepared(folder, person) for folder in _prepared(workspace))
    removed["tables of nights"] = sum(_from_table(path, person) for path in _tables(workspace))
    removed["training pairs"] = sum(_deleted(path) for path in (workspace.data / "nights").glob(f"*/train/{PAIRS}"))
    facts = ForgottenFacts(
        user_id=user_id,
        actor=actor,
        reason=reason,
        statistics_exact=when is Forgetting.NEXT_SOLVE,
        removed={kind: count for kind, count in removed.items() if count},
    )
    ledger_id = write.record_forgotten(engine, facts, at=workspace.now())
    line = next(one for one in read.forgotten(engine) if one.forgotten_id == ledger_id)
    return ForgottenPerson(ledger_id, dict(line.removed), when or "", read.count_assets(engine, user_id))


def _from_state(workspace: Workspace, user_id: str) -> Forgetting | None:
    """Take a person out of the state; return when the recommender will have forgotten, None where it knew nothing."""
    kept = kept_state(workspace)
    if kept is None or not Path(kept.prepared).is_dir():
        return None
    history = history_of(workspace, kept)
    if user_id not in history.user_ids:
        return None
    person = history.where(history.user_index == history.user_ids.index(user_id))
    if not len(person.weight):
        return None
    folder = state_folder(workspace)
    model = load_recommender(folder / kept.recommender)
    when = model.forget(person)
    name = f"next-item-{digest_of([kept.recommender, user_id])[:16]}"
    save_recommender(folder / name, model)
    affinity = AffinityState.open(folder / AFFINITY).forget([user_id])
    parts = tuple(part.folder for part in affinity.parts)
    subtracted = (*kept.subtracted, digest_of(user_id))
    publish(workspace, replace(kept, recommender=name, parts=parts, subtracted=subtracted), None)
    return when


def _prepared(workspace: Workspace) -> Iterator[Path]:
    """Yield the sealed folders of validated tables."""
    for path in sorted((workspace.data / "prepared").glob("*/manifest.json")):
        yield path.parent


def _from_prepared(folder: Path, person: Person) -> bool:
    """Rewrite a sealed folder without the person, and seal it again; return whether the person was there."""
    facts = read_manifest(folder)
    found = [_from_table(path, person) for path in sorted(folder.glob("*.parquet"))]
    if any(found) and facts is not None:
        seal_folder(folder, facts)
    return any(found)


def _tables(workspace: Workspace) -> Iterator[Path]:
    """Yield the tables in which nights keep what they know of users."""
    for pattern in _TABLES:
        yield from sorted((workspace.data / "nights").glob(f"*/{pattern}"))


def _from_table(path: Path, person: Person) -> bool:
    """Rewrite a table without the rows that name the person; return whether there were any."""
    table = pq.read_table(path)
    own = np.zeros(len(table), dtype=np.bool_)
    for name in (*_NAMES, _KEY):
        if name in table.column_names:
            value = person.user_key if name == _KEY else person.user_id
            column = table[name] if name == _KEY else table[name].cast(pa.string())
            own |= pc.fill_null(pc.equal(column, value), fill_value=False).to_numpy()
    if not own.any():
        return False
    with atomic_path(path) as temporary:
        pq.write_table(table.filter(pa.array(~own)), temporary, compression="zstd")
    return True


def _deleted(path: Path) -> int:
    """Delete a file: what was trained on is in its training's result, and pairs do not say whose they are."""
    path.unlink()
    return 1
