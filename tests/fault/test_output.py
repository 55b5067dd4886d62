"""Writing shards where process, disk or database fail: what is catalogued is there, and a rerun ends the night."""

import json
import os
import resource

import pytest
import torch
from sqlalchemy import create_engine, select, text

from benchmarks.kills import check, main
from benchmarks.output_store import Ready, Store
from personalgen.catalogue import engine as engine_module
from personalgen.catalogue.schema import asset, shard
from personalgen.errors import ArtifactError, CatalogueError
from personalgen.generation.encoders import choose_encoder
from personalgen.generation.roots import LocalRoot
from personalgen.generation.shards import sweep_temporaries
from tests import apart

N_IMAGES, SHARD_SIZE = 40, 8
KILLS = int(os.environ.get("TESTS_KILLS", "50"))


@pytest.mark.timeout(600)
def test_killed_writers_lose_and_repeat_nothing(tmp_path):
    """Kills at random moments: all that is catalogued is whole each time, and each night ends with every image once.

    Orphans are a shard that was sealed and not catalogued, or beside the sidecar of one that never was. The odds that
    none of 50 kills leaves one are below 1 in 10,000.
    """
    file = tmp_path / "kills.json"
    options = ["--kills", str(KILLS), "--home", str(tmp_path / "home"), "--json", str(file)]
    done = apart.run(main, options, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())
    assert figures["kills"] == KILLS
    assert figures["orphans"] > 0
    assert figures["images_checked"] >= 64


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A SQLite catalogue of 40 users whose writers give up on a lock after a tenth of a second."""
    monkeypatch.setattr(engine_module, "_BUSY_SEC", 0.1)
    made = Store(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'catalogue.db'}", N_IMAGES)
    yield made
    made.engine.dispose()


def write_all(store, model):
    """Go on writing a night."""
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return store.generate(N_IMAGES, Ready(images), choose_encoder("png/zlib"), model=model, shard_size=SHARD_SIZE)


def catalogued(store):
    """Return the paths of the shards that the catalogue knows, and how many assets it has."""
    with store.engine.connect() as connection:
        paths = connection.execute(select(shard.c.path).order_by(shard.c.path)).scalars().all()
        return paths, len(connection.execute(select(asset.c.asset_id)).all())


def ends_whole(store, model):
    """Run again where nothing is in the way any more: every image once, every file known, nothing left over."""
    sweep_temporaries(LocalRoot(store.root))
    write_all(store, model)
    paths, n_assets = catalogued(store)
    tars = sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*.tar"))
    assert (paths, n_assets) == (tars, N_IMAGES)
    assert check(store, model) == 5
    assert list(store.root.rglob(".*.tmp")) == []


def test_a_full_disk_in_the_middle_of_a_night(store):
    """No file may grow: the writer's error ends the night, what was catalogued stays, and with space it goes on."""
    model, limits = store.model(), resource.getrlimit(resource.RLIMIT_FSIZE)
    commit = store.commit

    def fill(*arguments, **options):
        commit(*arguments, **options)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    store.commit = fill
    try:
        with pytest.raises(ArtifactError, match="Nothing was sealed"):
            write_all(store, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    paths, n_assets = catalogued(store)
    assert ([path[-10:] for path in paths], n_assets) == (["000000.tar"], SHARD_SIZE)
    store.commit = commit
    ends_whole(store, model)


def test_a_disk_that_is_full_for_the_catalogue_alone(store):
    """SQLite cannot grow: its shard stays sealed and unknown, and is taken as it is by the next run."""
    model, limits = store.model(), resource.getrlimit(resource.RLIMIT_FSIZE)
    commit = store.commit

    def full(*arguments, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            commit(*arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    store.commit = full
    with pytest.raises(CatalogueError, match="Nothing was changed"):
        write_all(store, model)
    assert catalogued(store) == ([], 0)
    assert [path.name for path in store.root.rglob("*.tar")] == ["000000.tar"]
    before = next(store.root.rglob("*.tar")).stat().st_ino
    store.commit = commit
    ends_whole(store, model)
    assert min(store.root.rglob("*.tar")).stat().st_ino == before


def test_a_locked_database_stops_the_night_and_not_its_successor(store):
    """Whoever holds the lock longer than writers wait: a clear error, one sealed shard, nothing later; then it ends."""
    model = store.model()
    other = create_engine(store.engine.url, isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))
        with pytest.raises(CatalogueError, match=r"locked.*rolled back"):
            write_all(store, model)
        connection.execute(text("ROLLBACK"))
    other.dispose()
    assert catalogued(store) == ([], 0)
    assert len(list(store.root.rglob("*.tar"))) == 1
    ends_whole(store, model)
