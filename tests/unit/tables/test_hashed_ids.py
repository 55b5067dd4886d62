"""A source whose users are known by hashed ids: the same tables, under other names, and no plain id in any file."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet
import pytest

from personalgen.errors import DataError, PushDownError
from personalgen.tables import LimitsOptions
from personalgen.tables.all_events import open_all_events
from personalgen.tables.identity import PLAIN, Identity

HASHED = Identity(b"a salt of more than 16 bytes")
PLAIN_ID = re.compile(r"person-\w+")


@pytest.fixture
def people(shop):
    """The shop, its users under ids that can be looked for; one opted out, and rows of every table are bad."""
    shop.interactions["user_id"] = ["person-a", "person-a", "person-b", "person-c"]
    shop.users = {
        "user_id": ["person-a", "person-b", "person-c", "person-a"],
        "opted_out": ["no", "no", "yes", "no"],
    }
    return shop


def content(tables):
    """Return all cells of the prepared tables as text."""
    found = [pyarrow.parquet.read_table(path).to_pydict() for path in sorted(Path(tables.folder).glob("*.parquet"))]
    return repr(found)


def test_no_file_holds_a_plain_id(people):
    """Neither users, nor events, nor the quarantine's ids and details, as it would without hashing."""
    assert PLAIN_ID.search(content(people.prepare()))
    assert not PLAIN_ID.search(content(people.prepare(identity=HASHED)))


def test_the_same_people_have_the_same_events(people):
    """Counts, times and items agree user by user; the folder is another one."""
    plain, hashed = people.prepare(), people.prepare(identity=HASHED)
    assert plain.source_digest != hashed.source_digest
    events = [
        sorted(
            (identity.user_id(row["user_id"]) if identity is HASHED else row["user_id"], row["item_id"])
            for row in pyarrow.parquet.read_table(Path(tables.folder) / "interactions.parquet").to_pylist()
        )
        for tables, identity in ((plain, HASHED), (hashed, PLAIN))
    ]
    assert events[0] == events[1] != []
    assert [one.n_opted_out_events for one in (plain, hashed)] == [1, 1]


def test_who_was_forgotten_is_known_by_the_hashed_id(people):
    """The canonical id is compared, as everywhere inside."""
    tables = people.prepare(identity=HASHED, forgotten={HASHED.user_id("person-a")})
    assert tables.n_opted_out_events == 3


def test_a_bad_id_is_not_shown(people):
    """A row without a usable id, and a CSV row that cannot be taken apart, are told without their cells."""
    people.kind, people.users = "csv", None
    people.interactions["user_id"][0] = f"person-{'x' * 300}"
    options = people.write()
    with (people.folder / "interactions.csv").open("a") as stream:
        stream.write("person-broken\n")
    tables = people.prepare(options, identity=HASHED)
    details = pyarrow.parquet.read_table(Path(tables.folder) / "quarantine.parquet").to_pydict()["detail"]
    assert sorted(details) == ["expected 3 columns, found 1", "user_id = hidden (str)"]
    with pytest.raises(DataError) as caught:
        people.prepare(options, identity=HASHED, limits=LimitsOptions())
    assert not PLAIN_ID.search(str(caught.value))


def test_a_database_makes_no_sums_of_hashed_ids(people, tmp_path):
    """It would have to hold the salt; events are read one by one, under hashed ids."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with open_all_events(
        people.write(), limits=LimitsOptions(max_quarantine_share=1.0), as_of=now, now=now, identity=HASHED,
        folder=tmp_path / "waiting", progress=lambda *_: None,
    ) as events:  # fmt: skip
        with pytest.raises(PushDownError, match=r"privacy\.hash_ids"):
            events.aggregated(half_life_days=30.0, n_recent=5)
        read = {user for batch in events.one_by_one() for user in batch["user_id"].to_pylist()}
    assert read == {HASHED.user_id("person-a"), HASHED.user_id("person-b")}
