"""A migrated database for each test, on SQLite and on a throw-away PostgreSQL."""

import os
import shutil

import pytest
from sqlalchemy import create_engine, text

from personalgen.catalogue import shards, write
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.facts import (
    ItemFacts,
)
from personalgen.catalogue.migrations import upgrade
from tests.integration.catalogue.small import (
    ITEMS,
    begin,
    register,
    rows_of,
    shard_facts,
)


@pytest.fixture(scope="session")
def postgresql(postgresql_server):
    """Return the URL of a server with a migrated database `template_catalogue`."""
    on_server(postgresql_server, "CREATE DATABASE template_catalogue")
    engine = open_catalogue(f"{postgresql_server}/template_catalogue")
    upgrade(engine)
    engine.dispose()
    return postgresql_server


def on_server(server, statement):
    admin = create_engine(f"{server}/postgres".replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(statement))
    admin.dispose()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """Return a SQLite file at the newest revision, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "catalogue.db"
    engine = open_catalogue(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()  # the last connection folds the write-ahead log into the file
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Return the URL of a migrated, empty catalogue, once per backend."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / "catalogue.db")
        return f"sqlite:///{tmp_path}/catalogue.db"
    server, name = request.getfixturevalue("postgresql"), f"c{os.urandom(4).hex()}"
    on_server(server, f"CREATE DATABASE {name} TEMPLATE template_catalogue STRATEGY file_copy")
    return f"{server}/{name}"


@pytest.fixture
def engine(url):
    """Return an engine on a migrated, empty catalogue."""
    engine = open_catalogue(url)
    yield engine
    engine.dispose()


@pytest.fixture
def stocked(engine):
    """Return (night_id, model_version_id, user_keys): two users with two variants each, nothing released."""
    night_id = begin(engine)
    model = register(engine, night_id)
    keys = write.allocate_user_keys(engine, ["ada", "bob"], night_id=night_id, segments=["a", None])
    shards.commit_shard(engine, shard_facts(night_id, model), rows_of(keys, variants=2))
    return night_id, model, keys


@pytest.fixture
def people(engine):
    """Return the id of a night that knows three users and three items."""
    night_id = begin(engine)
    write.allocate_user_keys(engine, ["eve", "bob", "ada"], night_id=night_id)
    items = [ItemFacts(item_id=name, split="train", title=None if name == "map" else name.upper()) for name in ITEMS]
    write.upsert_items(engine, items, night_id=night_id)
    return night_id
