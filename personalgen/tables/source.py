"""One face for every source: its tables' columns and their rows in batches, and which of its columns are read.

All that is wrong with a source's tables and columns is collected and told at once, before the first row is read.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from personalgen.errors import ConfigError, SourceError
from personalgen.tables.columns import Batch
from personalgen.tables.options import InteractionColumns, ItemColumns, SourceOptions, UserColumns

_REQUIRED = frozenset({"user_id", "item_id", "timestamp", "image"})


class Source(Protocol):
    """A folder or a database."""

    @property
    def where(self) -> str:
        """How messages name it; never shows a password."""
        ...

    @property
    def image_root(self) -> Path:
        """Folder that image paths are relative to."""
        ...

    def columns(self, table: str) -> list[str]:
        """Return the column names of a table.

        Raises:
            SourceError: there is no such table, or it cannot be read.
        """
        ...

    def batches(self, table: str, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Batch]:
        """Yield the rows of a table, the named columns only, at most about `chunk_rows` at a time."""
        ...


@dataclass(frozen=True)
class TableLayout:
    """Which columns of a table are read, and as what."""

    table: str
    """File name, table name or SELECT."""
    chosen: dict[str, tuple[str, ...]]
    """Source columns by canonical name; empty where an optional one is not read."""

    def one(self, name: str) -> str | None:
        """Return the source column of a canonical one, or None."""
        return next(iter(self.chosen.get(name, ())), None)

    def need(self, name: str) -> str:
        """Return the source column of a required canonical one."""
        return self.chosen[name][0]

    def names(self) -> list[str]:
        """Return every source column to read, each once."""
        return list(dict.fromkeys(name for names in self.chosen.values() for name in names))


@dataclass(frozen=True)
class Layout:
    """The tables of a source, as they are read."""

    interactions: TableLayout
    items: TableLayout
    users: TableLayout | None


@contextmanager
def open_source(options: SourceOptions) -> Iterator[Source]:
    """Yield the source that the options name, and close it afterwards. Nothing is ever written to a source.

    Raises:
        ConfigError: the options contradict each other.
        SourceError: the folder, its images or the database cannot be opened.
    """
    if faults := options.faults():
        raise ConfigError(f"{'; '.join(faults)}. Nothing was read.")
    if options.path:
        from personalgen.tables.folder import FolderSource

        yield FolderSource.open(Path(options.path), image_root=options.image_root)
    else:
        from personalgen.tables.sql import open_database

        with open_database(str(options.url), image_root=Path(str(options.image_root))) as source:
            yield source


def read_layout(source: Source, options: SourceOptions) -> Layout:
    """Return which columns are read.

    Raises:
        SourceError: tables or columns are missing; the message names all of them.
    """
    faults: list[str] = []
    mapping = options.columns
    interactions = _table(source, "interactions", options.interactions, mapping.interactions, faults)
    items = _table(source, "items", options.items, mapping.items, faults)
    users = _table(source, "users", options.users, mapping.users, faults) if options.users else None
    faults += _overlooked_opt_out(source, options, users)
    if faults:
        raise SourceError(" ".join([*faults, "Nothing was read."]))
    if interactions.one("weight"):
        interactions.chosen["rating"] = ()
    return Layout(interactions, items, users)


def _overlooked_opt_out(source: Source, options: SourceOptions, users: TableLayout | None) -> list[str]:
    """Return a fault where a column looks like the one that says who opted out, and is not read."""
    name = options.columns.users.opted_out
    if users is None or not users.chosen or users.one("opted_out") or not name:
        return []
    found = {one.lower(): one for one in source.columns(users.table)}
    close = difflib.get_close_matches(name.lower(), found, n=1, cutoff=0.8)
    if not close:
        return []
    what = f"{users.table!r} (users) in {source.where} has a column {found[close[0]]!r}, not read, and no {name!r}"
    return [f'{what}. Name it under source.columns.users.opted_out, or set that to "" if it says something else.']


def nearest(name: str, found: Sequence[str]) -> str | None:
    """Return the found name that is most like `name`, whatever its case, or None."""
    by_lower = {one.lower(): one for one in found}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


def _table(
    source: Source, kind: str, table: str, mapping: InteractionColumns | ItemColumns | UserColumns, faults: list[str]
) -> TableLayout:
    """Return a table's layout, adding to `faults` what is missing."""
    try:
        found = source.columns(table)
    except SourceError as error:
        faults.append(str(error))
        return TableLayout(table, {})
    chosen, missing = _choose(mapping, found)
    what = f"{table!r} ({kind}) in {source.where}"
    if missing:
        faults.append(_missing_text(what, kind, missing, found))
    layout = TableLayout(table, chosen)
    if twice := [name for name in layout.names() if found.count(name) > 1]:
        faults.append(f"{what} has more than one column named {', '.join(map(repr, twice))}. Give each its own name.")
    return layout


def _choose(
    mapping: InteractionColumns | ItemColumns | UserColumns, found: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return (source columns by canonical name, the needed names that are absent).

    A column is needed when it is required, or when its name was set: a default that is absent is simply not there.
    """
    defaults = type(mapping)()
    chosen: dict[str, tuple[str, ...]] = {}
    missing: list[str] = []
    for field in fields(mapping):
        value = getattr(mapping, field.name)
        names = value if isinstance(value, tuple) else (value,) if value or field.name in _REQUIRED else ()
        chosen[field.name] = tuple(name for name in names if name in found)
        if field.name in _REQUIRED or value != getattr(defaults, field.name):
            missing += [name for name in names if name not in found]
    return chosen, missing


def _missing_text(what: str, kind: str, missing: Sequence[str], found: Sequence[str]) -> str:
    """Return the sentence that names every missing column, its nearest found one, and where to map it."""
    hints = [f"{name!r}" + (f" (nearest: {near!r})" if (near := nearest(name, found)) else "") for name in missing]
    return (
        f"{what} lacks {len(missing)} column{'s' if len(missing) > 1 else ''}: {', '.join(hints)}. "
        f"Found: {', '.join(found) or 'no columns'}. Name yours under source.columns.{kind}."
    )
