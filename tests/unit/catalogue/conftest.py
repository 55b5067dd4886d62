"""A migrated catalogue for each test, copied from one that is made once."""

import pytest

from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.migrations import upgrade


@pytest.fixture(scope="session")
def migrated(tmp_path_factory, new_catalogue):
    """Return a catalogue at the newest revision, to be copied."""
    catalogue = new_catalogue(tmp_path_factory.mktemp("migrated"))
    engine = open_catalogue(catalogue.url)
    upgrade(engine)
    engine.dispose()  # the last connection folds the write-ahead log into the file
    return catalogue


@pytest.fixture
def url(tmp_path, migrated):
    """Return the URL of a migrated, empty catalogue."""
    return migrated.copied(tmp_path / "catalogue.db").url


@pytest.fixture
def engine(url):
    """Return an engine on a migrated, empty catalogue."""
    engine = open_catalogue(url)
    yield engine
    engine.dispose()
