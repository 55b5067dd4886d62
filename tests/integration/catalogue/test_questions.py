"""The standing questions beside a plain count of everything, and the plans by which they are answered."""

import re
from datetime import date

import numpy as np
import pytest
from sqlalchemy import event, text

from benchmarks.catalogue import standing_questions
from benchmarks.catalogue_rows import Size, build
from personalgen.catalogue import daily, questions, scopes, similar
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.places import places
from personalgen.catalogue.scopes import AssetFilter
from personalgen.errors import CatalogueError, ConfigError, NotFoundError
from personalgen.generation.roots import LocalRoot
from personalgen.generation.shards import read_member
from tests.integration.catalogue.conftest import on_server

SIZE = Size(20_000, n_nights=10, shard_rows=1_000, dim=8)
LARGE = ("asset", "user_current", "user_change")
"""Tables of which no standing question may read every row."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def home(request, tmp_path_factory):
    """Return a folder of shards and an engine on a catalogue of ten nights of 2,000 users, twenty segments."""
    folder = tmp_path_factory.mktemp("many")
    url = f"sqlite:///{folder}/catalogue.db"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        on_server(server, "CREATE DATABASE many_nights")
        url = f"{server}/many_nights"
    engine = open_catalogue(url)
    build(engine, folder, SIZE, lambda _: None)
    yield folder, engine
    engine.dispose()
    if request.param == "postgresql":
        on_server(server, "DROP DATABASE many_nights")


@pytest.fixture(scope="module")
def many(home):
    return home[1]


@pytest.fixture(scope="module")
def everything(many):
    """Return every row of v_assets, the newest first."""
    with many.connect() as connection:
        return connection.execute(text("SELECT * FROM v_assets ORDER BY asset_id DESC")).all()


FILTERS = [
    AssetFilter(),
    AssetFilter(user_id="u00000077"),
    AssetFilter(user_id="nobody"),
    AssetFilter(night_id=3),
    AssetFilter(night_id=99),
    AssetFilter(model_version=1),
    AssetFilter(segment="s00"),
    AssetFilter(segment="s19"),
    AssetFilter(segment="nowhere"),
    AssetFilter(live_only=True),
    AssetFilter(night_id=9, live_only=True),
    AssetFilter(night_id=4, segment="s05", model_version=1),
    AssetFilter(live_only=True, segment="s11"),
]


def wanted(rows, asked):
    """Return the rows that fit, one by one."""
    return [
        row
        for row in rows
        if asked.user_id in {None, row.user_id}
        and asked.night_id in {None, row.night_id}
        and asked.model_version in {None, row.model_version}
        and asked.segment in {None, row.segment}
        and (row.is_live or not asked.live_only)
    ]


def paged(ask, cursor, n_pages=4, limit=7):
    """Return the ids of the first pages, each asked after the last of the one before."""
    ids = []
    for _ in range(n_pages):
        rows = ask(limit=limit, **({cursor: ids[-1]} if ids else {}))
        ids += [row.asset_id for row in rows]
        if len(rows) < limit:
            break
    return ids


@pytest.mark.parametrize("asked", FILTERS, ids=str)
def test_the_newest_are_those_of_a_plain_count(many, everything, asked):
    """Every filter gives the rows that fit, the newest first, and pages go on without a gap or a repeat."""
    expected = [row.asset_id for row in wanted(everything, asked)][:28]
    assert paged(lambda **more: questions.latest(many, asked, **more), "before_asset_id") == expected


@pytest.mark.parametrize("asked", FILTERS, ids=str)
def test_the_best_are_those_of_a_plain_count(many, everything, asked):
    """By score, of the night asked for, of all nights for one user, else of the newest that fits."""
    rows = wanted(everything, asked)
    if asked.night_id is None and asked.user_id is None:
        newest = max(row.night_id for row in everything if asked.model_version in {None, row.model_version})
        rows = [row for row in rows if row.night_id == newest]
    expected = [row.asset_id for row in sorted(rows, key=lambda row: (-row.score, -row.asset_id))][:28]
    assert paged(lambda **more: questions.top(many, asked, **more), "after_asset_id") == expected


@pytest.mark.parametrize("asked", [each for each in FILTERS if not each.user_id and not each.live_only], ids=str)
def test_who_changed_is_what_a_plain_count_says(many, asked):
    """Of the night asked for, else of the newest; the largest shift first; pages follow by night and new asset."""
    night = asked.night_id or (5 if asked.model_version == 1 else 10)
    with many.connect() as connection:
        query = text("SELECT * FROM v_changed WHERE night_id = :night ORDER BY shift DESC")
        rows = connection.execute(query, {"night": night}).all()
    expected = [row.new_asset_id for row in rows if asked.segment in {None, row.segment}][:28]
    found = []
    while len(found) < 28:
        page = questions.changed(many, asked, limit=7, after=(night, found[-1]) if found else None)
        found += [row.new_asset_id for row in page]
        if len(page) < 7:
            break
    assert found == expected


def test_one_user_s_changes_are_those_of_the_night(many):
    """A user's change is found without looking at others."""
    (row,) = questions.changed(many, AssetFilter(user_id="u00000077", night_id=4))
    assert (row.user_id, row.old_asset_id, row.new_asset_id) == ("u00000077", 2 * 2000 + 77, 3 * 2000 + 77)


def test_several_nights_of_a_day_are_one_answer(many, everything):
    """Two nights of one day are merged by score, and who changed by shift."""
    with many.begin() as connection:
        connection.execute(text("UPDATE night SET day = '2026-03-03' WHERE night_id = 4"))
    both = AssetFilter(day=date(2026, 3, 3), segment="s02")
    rows = [row for row in everything if row.night_id in {3, 4} and row.segment == "s02"]
    expected = [row.asset_id for row in sorted(rows, key=lambda row: -row.score)][:28]
    assert paged(lambda **more: questions.top(many, both, **more), "after_asset_id") == expected
    assert {row.night_id for row in questions.latest(many, both, limit=500)} == {3, 4}
    with many.begin() as connection:
        connection.execute(text("UPDATE night SET day = '2026-03-04' WHERE night_id = 4"))


def test_sums_are_those_of_a_plain_count(many, everything):
    """By day, model and segment; by nothing, one row; days can be cut off."""
    (whole,) = daily.stats(many, by=())
    assert (whole.n_images, whole.n_users, whole.n_changed) == (20_000, 20_000, 16_000)
    assert whole.mean_score == pytest.approx(np.mean([row.score for row in everything]), abs=1e-6)
    by_segment = {(row.model_version, row.segment): row.n_images for row in daily.stats(many, by=("model", "segment"))}
    assert by_segment[2, "s03"] == sum(row.segment == "s03" and row.model_version == 2 for row in everything)
    days = daily.stats(many)
    assert [row.n_images for row in days] == [2_000] * 10
    assert daily.stats(many, since=days[2].day, until=days[1].day) == days[1:3]


@pytest.mark.parametrize("chunk", [700, 20_000])
def test_similar_is_what_one_product_says(many, monkeypatch, chunk):
    """The nearest of all present conditions, whatever the chunks; who asked is left out, who is silent too."""
    monkeypatch.setattr(similar, "CHUNK_ROWS", chunk)
    with many.connect() as connection:
        query = "SELECT user_key, asset_id, condition FROM user_current WHERE generator_digest = :g ORDER BY user_key"
        rows = connection.execute(text(query), {"g": SIZE.digest(9)}).all()
    matrix = np.stack([np.frombuffer(row.condition, "<f4") for row in rows])
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosine = unit @ unit[41]
    best = [k for k in np.argsort(-cosine) if k != 41][:5]
    found = similar.similar(many, matrix[41], generator_digest=SIZE.digest(9), limit=5, leave_out=42)
    assert [row.asset_id for row in found] == [rows[k].asset_id for k in best]
    assert [row.cosine for row in found] == pytest.approx(cosine[best], abs=1e-5)
    assert np.array_equal(similar.present_condition(many, 42, SIZE.digest(9)), matrix[41])
    with pytest.raises(CatalogueError, match="have 8 columns, and 3 were asked for"):
        similar.similar(many, np.ones(3, np.float32), generator_digest=SIZE.digest(9))


def test_an_image_is_read_by_its_id(home):
    """The place that is looked up holds the bytes; an unknown id is a NotFoundError."""
    folder, engine = home
    with places(engine) as found:
        for asset_id in (18_001, 18_500):
            place = found.find(asset_id)
            facts = {"offset": place.shard_offset, "byte_length": place.byte_length, "crc32": place.crc32}
            assert len(read_member(LocalRoot(folder), place.shard_path, **facts)) == place.byte_length
        with pytest.raises(NotFoundError, match="no asset 999999"):
            found.find(999_999)


def test_a_page_goes_on_only_after_a_row_of_the_answer(many):
    """An unknown last asset is a NotFoundError, for scores and for changes."""
    with pytest.raises(NotFoundError, match="ends with asset 999999"):
        questions.top(many, after_asset_id=999_999)
    with pytest.raises(NotFoundError, match="ends with asset 999999"):
        questions.changed(many, after=(10, 999_999))
    (last,) = questions.changed(many, AssetFilter(night_id=4), limit=1)
    with pytest.raises(NotFoundError, match=f"ends with asset {last.new_asset_id}"):
        questions.changed(many, AssetFilter(night_id=5), after=(4, last.new_asset_id))


def test_sums_of_a_user_are_refused(many):
    """The roll-up knows no user."""
    with pytest.raises(ConfigError, match="know no user"):
        daily.stats(many, AssetFilter(user_id="u00000077"))


# --- plans ----------------------------------------------------------------------------------------------------------


def statements_of(engine, ask):
    """Return the SELECTs that a question sends, with their parameters."""
    sent = []

    def keep(_connection, _cursor, statement, parameters, *_rest):
        if statement.startswith("SELECT"):
            sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", keep)
    ask()
    event.remove(engine, "before_cursor_execute", keep)
    return sent


def plan(engine, statement, parameters):
    explain = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # as on a solid-state disk; the default makes 20,000 rows a short read
            connection.exec_driver_sql("SET LOCAL random_page_cost = 1.1")
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))


def full_scans(engine, told):
    """Return the lines of a plan that read every row of a large table, or build an index of one on the way."""
    if engine.dialect.name == "postgresql":
        return [line for line in told.split("\n") if re.search(rf"Seq Scan on ({'|'.join(LARGE)})\b", line)]
    aliases = "|".join((*LARGE, "a", "uc", "c", "v_assets"))
    return [line for line in told.split("\n") if re.search(rf"(SCAN|MATERIALIZE) ({aliases})\b|AUTOMATIC", line)]


@pytest.mark.parametrize("few_users", [scopes.FEW_USERS, 0])
def test_no_standing_question_reads_every_image(many, monkeypatch, few_users):
    """The plan of each statement of each question, with many parameters, starts from a key or an index."""
    monkeypatch.setattr(scopes, "FEW_USERS", few_users)
    n_looked_at = 0
    for name, ask in standing_questions(many, SIZE, np.random.default_rng(1)):
        for _ in range(5):
            for statement, parameters in statements_of(many, ask):
                told = plan(many, statement, parameters)
                assert full_scans(many, told) == [], f"{name}: {statement}\n{told}"
                n_looked_at += 1
    assert n_looked_at > 200


@pytest.mark.parametrize(
    "statement", ["SELECT COUNT(*) FROM v_assets WHERE n_events > 1", "SELECT SUM(seed) FROM asset"]
)
def test_a_full_scan_is_seen(many, statement):
    """What the test above looks for is found where it is: a plain count of all images."""
    assert full_scans(many, plan(many, statement, ()))
