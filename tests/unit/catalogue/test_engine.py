import pytest
from sqlalchemy import text

from personalgen.catalogue.engine import analyze, open_catalogue, parse_url, sqlite_path, transaction
from personalgen.errors import CatalogueError, ConfigError, NotFoundError


def insert_user(connection, user_id="ada"):
    connection.execute(text('INSERT INTO "user" (user_id, opted_out) VALUES (:id, FALSE)'), {"id": user_id.strip()})


def count_users(engine):
    with engine.connect() as connection:
        return connection.scalar(text('SELECT COUNT(*) FROM "user"'))


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("busy_timeout", 30_000),
        ("cache_size", -32_000),
    ],
)
def test_sqlite_is_durable_patient_and_checks_references(engine, pragma, value):
    """A SQLite catalogue uses WAL, syncs at each commit, enforces foreign keys and waits for locks."""
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_postgresql_always_means_psycopg():
    """A PostgreSQL URL without a driver gets psycopg."""
    assert parse_url("postgresql://pg@host/c").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "url", ["mysql://host/c", "postgresql+asyncpg://pg@host/c", "catalogue.db", "sqlite+aiosqlite:///x"]
)
def test_another_database_is_refused(url):
    """A URL that is neither SQLite nor PostgreSQL by psycopg is a ConfigError."""
    with pytest.raises(ConfigError, match="Nothing was opened"):
        open_catalogue(url)


def test_a_malformed_url_does_not_show_its_password():
    """The message about a malformed URL holds no more of it than the scheme."""
    with pytest.raises(ConfigError) as caught:
        parse_url("postgresql//user:sesame@host/c")
    assert "sesame" not in str(caught.value)


def test_the_folder_of_a_new_catalogue_is_made(tmp_path):
    """Opening a SQLite URL for writing makes the folder, not the file."""
    open_catalogue(f"sqlite:///{tmp_path}/deep/er/c.db").dispose()
    assert list(tmp_path.rglob("*")) == [tmp_path / "deep", tmp_path / "deep" / "er"]


def test_a_database_in_memory_has_no_file():
    """The file of a database in memory or of a server is None."""
    assert [sqlite_path(parse_url(url)) for url in ("sqlite://", "sqlite:///:memory:", "postgresql://h/c")] == [
        None
    ] * 3


def test_reading_a_missing_catalogue_says_so(tmp_path):
    """Opening read-only does not make a file."""
    with pytest.raises(NotFoundError, match="There is no catalogue"):
        open_catalogue(f"sqlite:///{tmp_path}/c.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_engine_cannot_write(engine, url):
    """A read-only engine reads what is committed and refuses to write, also in `transaction`."""
    with transaction(engine) as connection:
        insert_user(connection)
    reader = open_catalogue(url, read_only=True)
    assert count_users(reader) == 1
    with pytest.raises(CatalogueError, match=r"read-?only"), transaction(reader) as connection:
        insert_user(connection, "bob")
    reader.dispose()
    assert count_users(engine) == 1


def insert_users(engine, *user_ids):
    with transaction(engine) as connection:
        for user_id in user_ids:
            insert_user(connection, user_id)


def test_a_transaction_is_all_or_nothing(engine):
    """A row that breaks a constraint is a CatalogueError, and what came before it is taken back."""
    with pytest.raises(CatalogueError, match=r"UNIQUE|unique"):
        insert_users(engine, "ada", "bob", "ada")
    assert count_users(engine) == 0


def test_an_error_of_the_caller_takes_everything_back(engine):
    """An error that is not the database's leaves the transaction as it is, and nothing stays."""
    with pytest.raises(AttributeError):
        insert_users(engine, "ada", object())
    assert count_users(engine) == 0


@pytest.mark.sqlite_only
def test_a_writer_takes_the_lock_at_once(engine, url):
    """While one transaction is open another cannot begin, so that none fails half-way through."""
    impatient = open_catalogue(url)
    with transaction(engine) as connection, impatient.connect() as other:
        insert_user(connection)
        other.exec_driver_sql("PRAGMA busy_timeout=1")
        other.rollback()
        other.close()  # back to the pool, which hands out the same connection again
        with pytest.raises(CatalogueError, match="locked"), transaction(impatient):
            pass
    impatient.dispose()


@pytest.mark.sqlite_only
def test_analyze_leaves_statistics_of_small_tables(engine):
    """After `analyze` the planner knows a table of one row."""
    with transaction(engine) as connection:
        insert_user(connection)
    analyze(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM sqlite_stat1 WHERE tbl = 'user'").scalar()
