"""A migrated catalogue on SQLite for each test, copied from one that is made once."""

import shutil

import pytest

from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.migrations import upgrade


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """Return a SQLite file at the newest revision, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "catalogue.db"
    engine = open_catalogue(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()  # the last connection folds the write-ahead log into the file
    return path


@pytest.fixture
def url(tmp_path, migrated_file):
    """Return the URL of a migrated, empty catalogue."""
    path = tmp_path / "catalogue.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
def engine(url):
    """Return an engine on a migrated, empty catalogue."""
    engine = open_catalogue(url)
    yield engine
    engine.dispose()
