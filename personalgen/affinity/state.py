"""A state on disk that lives from night to night: a base, and a part for each night since, each bucket by bucket.

Sums of a user are kept as of the user's newest event in a part: an event weighs `2^((time - newest) / half-life)` for
ever. So time passing changes no file, an event may come late, and what is new in a night is a small part beside the
others, which nobody rewrites; a reader brings sums to one moment (forward decay: Cormode et al., ICDE 2009). A history
that was corrected replaces what was known of its user. A manifest, written last, says which parts count.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.affinity.batches import EventKinds, kind_of
from personalgen.affinity.events import Events, Ids, SummedEvents
from personalgen.affinity.id_files import UserIds, ids_in, save_ids
from personalgen.affinity.options import AffinityOptions
from personalgen.affinity.rows import AffinityRows, load_rows, save_rows
from personalgen.affinity.spill import E, ItemKeys, Spill, seconds_after
from personalgen.artifacts import read_json, write_json
from personalgen.errors import ArtifactError, DataError

STATE, REPLACED = "state.json", "replaced.parquet"
_BASE, _FORMAT = "base", 2
_PART, _ITEMS, _SPILL = "part-", "items-", ".spill-"
_OWN = (_PART, _ITEMS, _SPILL)
"""How the names of files and folders begin that the manifest does not name when a run was cut."""


@dataclass(frozen=True)
class Part:
    """One addition to the state: a folder of buckets."""

    folder: str
    nights: tuple[str, ...]
    """What was added in it."""
    n_events: int
    replaces: bool = False
    """Whether it names users whose rows in earlier parts count no more."""


@dataclass(frozen=True)
class AffinityState:
    """A state as its manifest was when it was opened; what changes it returns the new one.

    Batches of events have the columns user_id and item_id, whole numbers or texts, timestamp, whole seconds since 1970,
    and weight, negative for a dislike. They may come in any order. One process writes at a time.
    """

    folder: Path
    options: AffinityOptions
    landmark: int
    """Seconds since 1970 from which times are counted."""
    as_of: int
    """Seconds since 1970 before which events are known."""
    parts: tuple[Part, ...]
    items: str = ""
    """File of the items' texts by key; empty where items are whole numbers."""
    kinds: tuple[tuple[str, str], ...] = ()
    """Whether user_id and item_id are "numbers" or "texts"; empty before the first event."""

    @classmethod
    def build(
        cls,
        folder: Path,
        batches: Iterable[pa.RecordBatch],
        *,
        as_of: datetime,
        options: AffinityOptions | None = None,
        items: Sequence[str] = (),
    ) -> "AffinityState":
        """Return the state of all events before `as_of`, in place of what is in the folder.

        Texts of `items` get their keys in this order before the others: events of one second stand in it.

        Raises:
            DataError: an event's time is more than 68 years from `as_of`, a value is missing, or ids are of both kinds.
        """
        now = int(as_of.timestamp())
        state = cls(folder, options or AffinityOptions(), now, now, ())
        return state._with(batches, now, _BASE, ItemKeys.beforehand(items), None)

    @classmethod
    def build_from_sums(
        cls,
        folder: Path,
        sums: Iterable[pa.RecordBatch],
        newest: Iterable[pa.RecordBatch],
        *,
        as_of: datetime,
        options: AffinityOptions | None = None,
        items: Sequence[str] = (),
    ) -> "AffinityState":
        """Return the state of events before `as_of` that somebody else has summed, in place of what is in the folder.

        A row of `sums` is a user's events with an item, of one sign: the weight is what all of them weigh at the
        timestamp, that of the newest, and the column n_events says how many they are. `newest` are the newest
        `options.n_recent` events of each user. Equals what `build` makes of the events, to rounding.

        Raises:
            DataError: as `build`.
        """
        now = int(as_of.timestamp())
        state, keys = cls(folder, options or AffinityOptions(), now, now, ()), ItemKeys.beforehand(items)
        made, kinds = state._new_folder(), EventKinds()
        with (
            state._spilled(SummedEvents, kinds.checked(sums, now), keys) as summed,
            state._spilled(Events, kinds.checked(newest, now), keys) as recent,
        ):
            n_events = state._saved(made, summed, recent)
        return state._published_with(Part(made.name, (_BASE,), n_events), keys, kinds.found, now)

    @classmethod
    def open(cls, folder: Path) -> "AffinityState":
        """Return the state in a folder.

        Raises:
            ArtifactError: there is none, or another version wrote it.
        """
        raw = read_json(folder / STATE)
        if raw.get("format") != _FORMAT:
            raise ArtifactError(
                f"{folder / STATE} has format {raw.get('format')}, this version reads {_FORMAT}. Build the state "
                "again. Nothing was changed."
            )
        parts = tuple(Part(**part | {"nights": tuple(part["nights"])}) for part in raw["parts"])
        return cls(
            folder,
            AffinityOptions(**raw["options"]),
            raw["landmark"],
            raw["as_of"],
            parts,
            raw["items"],
            _pairs(raw["kinds"]),
        )

    def add(
        self,
        batches: Iterable[pa.RecordBatch],
        *,
        as_of: datetime,
        night: str,
        replaced: UserIds | None = None,
    ) -> "AffinityState":
        """Return the state with further events before `as_of`, however late they come; a known night changes nothing.

        Of users who are `replaced`, the batches hold the whole history: what was known of them counts no more.

        Raises:
            DataError: `as_of` lies before that of the state, a time is more than 68 years from its landmark, a value is
                missing, or ids are of another kind than those of the state.
            ArtifactError: the state was changed since it was opened.
        """
        now = int(as_of.timestamp())
        if night in {known for part in self.parts for known in part.nights}:
            return self
        if now < self.as_of:
            raise DataError(
                f"the state knows events before {self.as_of} (seconds since 1970), and nights go forward: found {now}. "
                "Build it again to go back. Nothing was added."
            )
        self._require_newest()
        return self._with(batches, now, night, self._item_keys(), replaced)

    def forget(self, user_ids: UserIds) -> "AffinityState":
        """Return the state without some users, of whom no file holds anything any more.

        Raises:
            DataError: the ids are of another kind than those of the state.
            ArtifactError: the state was changed since it was opened.
        """
        self._require_newest()
        self._require_kind(user_ids)
        parts = []
        for part in self.parts:
            made = self._new_folder()
            for path in sorted((self.folder / part.folder).glob("[0-9]*.parquet")):
                rows = _without(load_rows(path), user_ids)
                if len(rows.users):
                    save_rows(made / path.name, rows)
            if part.replaces:
                replaced = self._replaced(part)
                save_ids(made / REPLACED, replaced[~np.isin(replaced, np.asarray(user_ids, dtype=replaced.dtype))])
            parts.append(replace(part, folder=made.name))
        return self._published(replace(self, parts=tuple(parts)))

    def compacted(self) -> "AffinityState":
        """Return the state with all parts in one: reading gets faster, nothing else changes."""
        if len(self.parts) == 1:
            return self
        self._require_newest()
        made, n_events = self._new_folder(), 0
        for bucket in range(self.options.n_buckets):
            if (rows := self.bucket(bucket)) is not None:
                n_events += int(rows.n_events.sum())
                save_rows(made / _file_of(bucket), rows)
        nights = tuple(night for part in self.parts for night in part.nights)
        return self._published(replace(self, parts=(Part(made.name, nights, n_events),)))

    def rows(self, *, as_of: datetime | None = None) -> Iterator[AffinityRows]:
        """Yield the rows of each bucket that holds any, with sums as of a moment, by default of each newest event.

        Raises:
            DataError: the moment lies before the state's own: what came between cannot be taken away again.
        """
        if as_of is not None and as_of.timestamp() < self.as_of:
            raise DataError(
                f"the state knows events before {self.as_of} (seconds since 1970), and cannot go back to "
                f"{as_of.timestamp():.0f}."
            )
        for number in self.buckets():
            if (rows := self.bucket(number)) is not None:
                at = None if as_of is None else as_of.timestamp() - self.landmark
                yield rows if at is None else rows.as_of(at, self.options.half_life_days)

    def buckets(self) -> tuple[int, ...]:
        """Return the numbers of the buckets that have a file; of some of them everybody may have been replaced.

        Raises:
            ArtifactError: a part is gone.
        """
        self.require_whole()
        files = (path.stem for part in self.parts for path in (self.folder / part.folder).glob("[0-9]*.parquet"))
        return tuple(sorted(set(map(int, files))))

    def bucket(self, number: int) -> AffinityRows | None:
        """Return the rows of one bucket, as of each newest event, or None where it holds nobody.

        Raises:
            ArtifactError: a part is gone.
        """
        self.require_whole()
        found: list[AffinityRows] = []
        for part in self.parts:
            if part.replaces:
                gone = self._replaced(part)
                found = [_without(rows, gone) for rows in found]
            if (path := self.folder / part.folder / _file_of(number)).is_file():
                found.append(load_rows(path))
        found = [rows for rows in found if len(rows.users)]
        options = self.options
        return (
            AffinityRows.joined(found, half_life_days=options.half_life_days, n_recent=options.n_recent)
            if found
            else None
        )

    def item_ids(self, keys: NDArray[np.int64]) -> Ids:
        """Return the ids behind keys of items."""
        if not self.items:
            return keys
        ids: Ids = self._item_keys().texts.take(pa.array(keys)).to_numpy(zero_copy_only=False)
        return ids

    def known_items(self) -> Ids:
        """Return the texts of items by their key; nothing for items that are whole numbers, which are their keys."""
        texts = self._item_keys().texts
        return np.zeros(0, dtype=np.int64) if texts is None else texts.to_numpy(zero_copy_only=False)

    def _with(
        self,
        batches: Iterable[pa.RecordBatch],
        now: int,
        night: str,
        items: ItemKeys,
        replaced: UserIds | None,
    ) -> "AffinityState":
        """Return the state with one part more."""
        made, n_events, options, kinds = self._new_folder(), 0, self.options, EventKinds(self.kinds)
        if replaced is not None:
            self._require_kind(replaced)
        with self._spilled(Events, kinds.checked(batches, now), items) as spill:
            for bucket, users, user, events in spill.buckets():
                rows = AffinityRows.of_events(
                    users, user, events, half_life_days=options.half_life_days, n_recent=options.n_recent
                )
                n_events += len(events)
                save_rows(made / _file_of(bucket), rows)
        if replaced is not None:
            save_ids(made / REPLACED, replaced)
        part = Part(made.name, (night,), n_events, replaces=replaced is not None)
        return self._published_with(part, items, kinds.found, now)

    def _published_with(
        self, part: Part, items: ItemKeys, kinds: tuple[tuple[str, str], ...], now: int
    ) -> "AffinityState":
        """Return the published state with one part more."""
        file = self.items
        if items.n_new:
            file = f"{_ITEMS}{part.folder}.parquet"
            save_ids(self.folder / file, items.texts)
        return self._published(replace(self, as_of=now, parts=(*self.parts, part), items=file, kinds=kinds))

    @contextmanager
    def _spilled(self, kind: type[E], batches: Iterable[pa.RecordBatch], items: ItemKeys) -> Iterator[Spill[E]]:
        """Yield the events of all batches, cut into buckets; they are gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=_SPILL, dir=self.folder) as folder:
            with Spill(Path(folder), self.options.n_buckets, kind) as spill:
                for batch, item in items.of(batches):
                    seconds = seconds_after(self.landmark, batch["timestamp"].to_numpy())
                    weight = batch["weight"].cast(pa.float32()).to_numpy()
                    others = [batch["n_events"].to_numpy()] if kind is SummedEvents else []
                    spill.add(batch["user_id"], kind(item, seconds, weight, *others))
            yield spill

    def _saved(self, made: Path, summed: Spill[SummedEvents], newest: Spill[Events]) -> int:
        """Write the rows of each bucket; return of how many events they are."""
        half_life_days, n_recent, n_events = self.options.half_life_days, self.options.n_recent, 0
        others = newest.buckets()
        other = next(others, None)
        for bucket, users, user, sums in summed.buckets():
            parts = [AffinityRows.of_sums(users, user, sums, half_life_days=half_life_days)]
            if other is not None and other[0] == bucket:
                parts.append(AffinityRows.of_newest(*other[1:]))
                other = next(others, None)
            rows = AffinityRows.joined(parts, half_life_days=half_life_days, n_recent=n_recent)
            n_events += int(rows.n_events.sum())
            save_rows(made / _file_of(bucket), rows)
        return n_events

    def _replaced(self, part: Part) -> Ids:
        """Return the users whose earlier rows a part replaces."""
        return ids_in(self.folder / part.folder / REPLACED)

    def require_whole(self) -> None:
        """Return if all parts are there.

        Raises:
            ArtifactError: one is gone.
        """
        for part in self.parts:
            if not (self.folder / part.folder).is_dir():
                raise ArtifactError(
                    f"{self.folder / part.folder} is gone: the state was changed since it was opened, or somebody "
                    "deleted a part of it. Open it again; build it again if that does not help."
                )

    def _require_newest(self) -> None:
        """Refuse to change what another one changed since this was opened."""
        if AffinityState.open(self.folder) != self:
            raise ArtifactError(
                f"the state in {self.folder} was changed since it was opened. Open it again. Nothing was changed."
            )

    def _require_kind(self, user_ids: UserIds) -> None:
        """Refuse ids that could be nobody's here."""
        found = kind_of(pa.array(user_ids).type) if len(user_ids) else ""
        if self.kinds and found and found != self.kinds[0][1]:
            raise DataError(f"the users of this state are {self.kinds[0][1]}, found {found}. Nothing was changed.")

    def _item_keys(self) -> ItemKeys:
        """Return the keys that items have."""
        return ItemKeys(pq.read_table(self.folder / self.items)["id"].combine_chunks() if self.items else None)

    def _new_folder(self) -> Path:
        """Return a folder for a part, which stays if the manifest names it in the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=_PART, dir=self.folder))

    def _published(self, state: "AffinityState") -> "AffinityState":
        """Write the manifest, and remove what it does not name."""
        manifest = {
            "format": _FORMAT,
            "options": state.options,
            "landmark": state.landmark,
            "as_of": state.as_of,
            "items": state.items,
            "kinds": state.kinds,
            "parts": [vars(part) for part in state.parts],
        }
        write_json(state.folder / STATE, manifest)
        named = {STATE, state.items, *(part.folder for part in state.parts)}
        for path in state.folder.iterdir():
            if path.name not in named and path.name.startswith(_OWN):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return state


def _file_of(bucket: int) -> str:
    return f"{bucket:04d}.parquet"


def _without(rows: AffinityRows, user_ids: UserIds) -> AffinityRows:
    gone = pc.is_in(pa.array(rows.users), value_set=pa.array(user_ids)) if len(user_ids) else None
    return rows if gone is None else rows.where(~gone.to_numpy(zero_copy_only=False))


def _pairs(raw: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, kind) for name, kind in raw)
