"""What two homes agree on where they had the same nights, however often these were interrupted.

All is read past every layer of ours: rows by sqlite3, files by their bytes. Left out is what says when something
happened, by which run, and in how many attempts.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalgen.artifacts import canonical_json, sha256_file

Rows = dict[str, list[dict[str, Any]]]

TIMES_AND_RUNS = {
    "attempts", "at", "created_at", "finished_at", "mlflow_run_id", "moved_at", "prefect_flow_run_id", "sealed_at",
}  # fmt: skip
LASTING = ("data/shards/", "data/models/", "data/prepared/", "data/features/", "data/reports/")
"""Folders whose files agree to the byte; those of `data/nights` and `data/mlartifacts` name runs and places."""
_NATURAL_KEY = ("user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant")
_SHOWN, _CHARS = 2, 300


@contextmanager
def read_only(database: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a SQLite file; nothing can be changed."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def all_rows(database: Path) -> Rows:
    """Return every row of every table of a SQLite database as dicts, in an order of their own."""
    if not database.exists():
        return {}
    with read_only(database) as connection:
        names = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        rows = {name: [dict(row) for row in connection.execute(f'select * from "{name}"')] for name in names}
    return {name: sorted(found, key=repr) for name, found in rows.items()}


@dataclass(frozen=True)
class Agreed:
    """What a home holds, as far as two homes must agree on it."""

    rows: Rows
    """Of the catalogue."""
    registered: dict[str, Any]
    files: dict[str, str]
    """Digests of lasting files by their path below home."""
    left_over: list[str]
    """Temporary files and folders."""


def read_home(home: Path) -> Agreed:
    """Return what is to be compared of a home at rest."""
    paths = [path for path in home.rglob("*") if path.is_file()]
    names = {str(path.relative_to(home)): path for path in paths}
    return Agreed(
        rows=lasting_rows(all_rows(home / "data" / "catalogue.db")),
        registered=registered(all_rows(home / "mlflow.db")),
        files={name: sha256_file(path) for name, path in names.items() if name.startswith(LASTING)},
        left_over=left_over(home),
    )


def lasting_rows(catalogue: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rows:
    """Return the catalogue's rows by table, less times and runs."""
    return {
        table: sorted(({k: _parsed(v) for k, v in row.items() if k not in TIMES_AND_RUNS} for row in found), key=repr)
        for table, found in catalogue.items()
        if not table.startswith("sqlite_")
    }


def registered(tracking: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return what MLflow holds, without times and ids: versions, aliases, models, runs by stage, runs without end."""
    models = [row for row in tracking["logged_models"] if row["lifecycle_stage"] == "active"]
    runs = {row["run_uuid"] for row in tracking["runs"] if row["lifecycle_stage"] == "active"}
    stages = Counter(row["value"] for row in tracking["tags"] if row["key"] == "stage" and row["run_uuid"] in runs)
    return {
        "versions": [row["version"] for row in tracking["model_versions"]],
        "aliases": [f"{row['alias']} = {row['version']}" for row in tracking["registered_model_aliases"]],
        "models": len(models),
        "runs": len(runs),
        "runs of stages": dict(sorted(stages.items())),
        "unfinished": [row["status"] for row in tracking["runs"] if row["status"] != "FINISHED"],
    }


def left_over(home: Path) -> list[str]:
    """Return temporary files and hidden working folders, relative to home."""
    found = (path for path in home.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".prepare-"))
    return sorted(str(path.relative_to(home)) for path in found)


def lost_and_doubled(expected: Agreed, found: Agreed) -> tuple[int, int]:
    """Return how many images are missing by their natural key, and how many are there once too often."""
    wanted, made = _natural_keys(expected), _natural_keys(found)
    return (wanted - made).total(), (made - wanted).total()


def disagreements(expected: Agreed, found: Agreed) -> list[str]:
    """Return in which ways two homes differ, in words; none where they agree."""
    told = [f"left over: {name}" for name in found.left_over]
    for table in sorted(expected.rows.keys() | found.rows.keys()):
        told += _unlike(f"table {table}", expected.rows.get(table, []), found.rows.get(table, []))
    told += _unlike("file", list(expected.files.items()), list(found.files.items()))
    told += [
        f"registry: {name} is {found.registered[name]}, expected {value}"
        for name, value in expected.registered.items()
        if found.registered[name] != value
    ]
    return told


def _unlike(what: str, expected: Sequence[Any], found: Sequence[Any]) -> list[str]:
    """Return the entries that only one of them has."""
    wanted, made = Counter(map(canonical_json, expected)), Counter(map(canonical_json, found))
    missing, more = wanted - made, made - wanted
    told = [f"{what}: lacks {missing.total()}, has {more.total()} too many"] if missing or more else []
    told += [f"  lacks {entry[:_CHARS]}" for entry in [*missing][:_SHOWN]]
    return told + [f"  has {entry[:_CHARS]}" for entry in [*more][:_SHOWN]]


def _natural_keys(home: Agreed) -> "Counter[tuple[Any, ...]]":
    return Counter(tuple(row[name] for name in _NATURAL_KEY) for row in home.rows["asset"])


def _parsed(value: Any) -> Any:
    """Return JSON objects with sorted keys, as their order says nothing, and bytes as hex digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str) and value.startswith("{"):
        return json.dumps(json.loads(value), sort_keys=True)
    return value
