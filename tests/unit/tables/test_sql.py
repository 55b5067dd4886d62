import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from personalgen.errors import ConfigError, SourceError
from personalgen.tables import SourceOptions
from personalgen.tables.source import open_source
from personalgen.tables.sql import _explained


@pytest.fixture
def database(shop):
    """The shop's tables in SQLite."""
    source = shop.write()
    path = shop.folder / "shop.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, columns in (("interactions", shop.interactions), ("items", shop.items)):
            connection.execute(f"create table {name}({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"insert into {name} values({marks})", zip(*columns.values(), strict=True))
    return replace(source, path=None, url=f"sqlite:///{path}", image_root=str(shop.folder))


def change(source, *statements):
    with closing(sqlite3.connect(source.url.removeprefix("sqlite:///"))) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def refusal(source):
    with pytest.raises(SourceError) as caught, open_source(source) as opened:
        opened.columns(source.interactions)
    return str(caught.value)


def test_a_database_gives_what_the_folder_gives(shop, database):
    """The same content has the same digest, and is the same prepared folder, read from Parquet, CSV or SQL."""
    from_sql = shop.prepare(database)
    assert shop.prepare() == from_sql
    shop.kind = "csv"
    for path in shop.folder.glob("*.parquet"):
        path.unlink()
    assert shop.prepare() == from_sql
    assert shop.leftovers() == [Path(from_sql.folder).name]


def test_selects_and_views_stand_for_tables(shop, database):
    """A SELECT may hold colons, percent signs and a last semicolon; a view is as good as a table."""
    change(database, "create view events as select * from interactions")
    select = "SELECT *, ':x' AS c, '50%' AS p FROM interactions -- all; of it;"
    expected = shop.prepare(database).source_digest
    for table in ("events", select, "with e as (select * from interactions) select * from e;", "main.interactions"):
        assert shop.prepare(replace(database, interactions=table)).source_digest == expected


def test_sqlite_may_mix_types_in_a_column(shop, database):
    """Each cell is judged by itself: an integer and its text are one user, a float is none."""
    change(
        database,
        "delete from interactions",
        "insert into interactions values (7, 'a', 1000), ('7', 'b', '1970-01-01 00:20:00'), (7.0, 'c', 3000), "
        "(x'37', 'c', 4000.5), (null, 'c', 1), (7, 'c', 'soon')",
    )
    tables = shop.prepare(database)
    assert {one.reason: one.n_rows for one in tables.quarantine} == {"bad_user_id": 2, "bad_timestamp": 1}
    assert (tables.n_users, tables.n_interactions) == (1, 3)
    assert tables.as_of == datetime.fromtimestamp(4001, UTC)


def test_rows_are_streamed_in_chunks(database):
    """No batch is larger than asked for, and rows are numbered through."""
    with open_source(database) as source:
        batches = list(source.batches("interactions", ["item_id"], chunk_rows=3))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2], [3]]
    assert batches[0].columns["item_id"].equals(pa.array(["a", "b", "b"], pa.large_string()))


def test_a_source_is_never_written_to(database):
    """The connection refuses writes, so even a hostile SELECT changes nothing."""
    with open_source(database) as source, pytest.raises(Exception, match="readonly"):
        source.connection.exec_driver_sql("delete from items")


def test_a_database_that_does_not_exist_is_not_created(tmp_path):
    """SQLite would make an empty file; this says what is wrong instead."""
    path = tmp_path / "none.db"
    message = refusal(SourceOptions(url=f"sqlite:///{path}", image_root=str(tmp_path)))
    assert "is not a file" in message
    assert not path.exists()


def test_a_file_that_is_no_database_says_so(tmp_path):
    """The database's own words are in the message."""
    (tmp_path / "a.db").write_text("hello " * 1000)
    assert "file is not a database" in refusal(
        SourceOptions(url=f"sqlite:///{tmp_path}/a.db", image_root=str(tmp_path))
    )


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("localhost:5432/db", "is not a SQLAlchemy URL"),
        ("me:sesame@localhost/db", "is not a SQLAlchemy URL"),
        ("postgresql://me:sesame@localhost/db", r"Write postgresql+psycopg://"),
        ("mysql://me:sesame@localhost/db", r"Write mysql+pymysql://"),
        ("nosuch+driver://me:sesame@localhost/db", "not installed"),
        ("mysql+pymysql://me:sesame@localhost/db", "not installed"),
        ("postgresql+asyncpg://me:sesame@localhost/db", "synchronous"),
        ("postgresql+psycopg://me:sesame@127.0.0.1:1/db?application_name=sesame", "cannot be opened"),
        ("postgresql+psycopg://me:ses%40ame@127.0.0.1:1/db", "cannot be opened"),
        ("sqlite://", "is not a file"),
    ],
)
def test_a_wrong_url_is_explained_without_its_password(tmp_path, url, word):
    """A URL without a dialect, driver or server gives a SourceError that shows no secret."""
    message = refusal(SourceOptions(url=url, image_root=str(tmp_path)))
    assert word in message
    assert "sesame" not in message
    assert "ses@ame" not in message


def test_a_driver_that_quotes_the_password_is_silenced():
    """Whatever a driver puts into its message, the password is not in ours."""
    url = sa.make_url("postgresql+psycopg://me:sesame@host/db")
    with pytest.raises(SourceError) as caught, _explained(url, "the database cannot be opened"):
        raise SQLAlchemyError("no such host in postgresql://me:sesame@host/db")
    assert "sesame" not in str(caught.value)


def test_a_missing_table_names_the_nearest(database):
    """The message lists what is there."""
    message = refusal(replace(database, interactions="interaction"))
    assert "no table 'interaction' (nearest: 'interactions'). Found: interactions, items" in message


def test_a_broken_select_is_quoted_with_the_reason(database):
    """The database's own words are in the message."""
    message = refusal(replace(database, interactions="select * from nowhere"))
    assert "'select * from nowhere' cannot be read: no such table: nowhere" in message


def test_a_database_needs_an_image_root(tmp_path):
    """Without a folder of its own, the source must say where pictures are, and the folder must exist."""
    with pytest.raises(ConfigError, match="image_root"), open_source(SourceOptions(url="sqlite:///a.db")):
        pass
    assert "not a folder" in refusal(SourceOptions(url="sqlite:///a.db", image_root=str(tmp_path / "none")))
