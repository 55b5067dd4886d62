"""The output path on both databases: its benchmark at a toy size, and a server that goes away while it writes."""

import json

import pytest
import torch
from sqlalchemy import create_engine, event, func, select, text

from benchmarks import output_path
from benchmarks.output_parts import BEYOND, PARTS
from benchmarks.output_store import Ready, Store
from personalgen.catalogue.schema import asset
from personalgen.errors import CatalogueError
from personalgen.generation.encoders import choose_encoder

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def new_database(postgresql_server):
    """Return a function that makes a database and returns its URL."""
    server = postgresql_server.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")

    def make(name):
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return f"{server}/{name}"

    yield make
    engine.dispose()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_parts_whole_and_ratios_are_measured(tmp_path, request, database):
    """The ratios are those of the figures beside them, and every part cost something."""
    more = ["--url", request.getfixturevalue("new_database")("measured")] if database == "postgresql" else []
    file = tmp_path / "figures.json"
    given = ["--quick", "--home", str(tmp_path / "home"), "--encoder", "png/zlib", "--json", str(file), *more]
    assert output_path.main(given) == 0
    figures = json.loads(file.read_text())
    parts = sum(figures[f"{name}_cpu_us_per_img"] for name in PARTS)
    whole = figures["whole_cpu_us_per_img"]
    beyond = sum(figures[f"{name}_cpu_us_per_img"] for name in BEYOND)
    assert figures["whole_over_parts_cpu"] == pytest.approx(whole / parts)
    one_core = figures["whole_one_core_cpu_us_per_img"]
    assert figures["whole_one_core_over_parts_cpu"] == pytest.approx(one_core / parts)
    assert figures["whole_one_core_over_stages_cpu"] == pytest.approx(one_core / (parts + beyond))
    assert figures["obvious_over_whole_cpu"] == pytest.approx(figures["obvious_cpu_us_per_img"] / whole)
    assert figures["insert_over_bare_wall"] > 0
    assert 0 < figures["output_share_of_small_gan"] < 1
    assert 5_000 < figures["bytes_per_img"] < 15_000
    ratio = figures["peak_mib_300"] / figures["peak_mib_100"]
    assert figures["peak_mib_largest_over_smallest"] == pytest.approx(ratio)


@pytest.mark.parametrize("moment", ["CREATE TEMPORARY TABLE", "INSERT INTO asset"])
def test_a_database_that_vanishes_stops_the_night_and_not_its_successor(tmp_path, new_database, moment):
    """Cut off before its rows are copied or behind them: an error that says so, no half shard, and a rerun ends it."""
    url = new_database(f"vanished_{moment.split()[0].lower()}")
    store, images, encoder = Store(tmp_path, url, 20), torch.zeros(64, 3, 8, 8), choose_encoder("png/zlib")
    model, others = store.model(), create_engine(url)

    def vanish(_connection, _cursor, statement, *_rest):
        if statement.strip().startswith(moment):
            with others.begin() as connection:
                mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
                connection.execute(text(f"{mine} AND datname = current_database()"))

    def write():
        return store.generate(20, Ready(images), encoder, model=model, shard_size=5)

    def n_assets():
        with others.connect() as connection:
            return connection.scalar(select(func.count()).select_from(asset))

    event.listen(store.engine, "after_cursor_execute", vanish)
    with pytest.raises(CatalogueError, match="rolled back"):
        write()
    event.remove(store.engine, "after_cursor_execute", vanish)
    assert n_assets() == 0
    assert len(list(tmp_path.rglob("*.tar"))) == 1
    assert write().n_reused_shards == 1
    assert n_assets() == 20
    store.engine.dispose()
    others.dispose()
