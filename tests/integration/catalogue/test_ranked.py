"""Recommendations, neighbours and who is forgotten, on either database."""

from datetime import date

import numpy as np
import pytest
from sqlalchemy import event, text

from personalgen.catalogue import questions, ranked, read, write
from personalgen.catalogue.facts import (
    Ranked,
)
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.rows import ItemNeighbour, Recommendation, UserNeighbour
from personalgen.errors import CatalogueError, NotFoundError
from tests.integration.catalogue.small import (
    AT,
    ITEMS,
    NONE,
    begin,
    forget,
    make_alike,
    promote,
    ranked_rows,
    ranking,
    recommend,
)


def test_recommendations_are_read_with_title_and_day(engine, people):
    """Best first, ranks without a gap where nothing was found; who has none gets nothing."""
    day = date(2026, 3, 1)
    assert recommend(engine, people) == 3
    assert read.recommendations(engine, "bob") == (
        Recommendation("bob", 1, "hat", "HAT", 0.75, people, day),
        Recommendation("bob", 2, "cup", "CUP", 0.5, people, day),
    )
    assert read.recommendations(engine, "eve") == (Recommendation("eve", 1, "map", None, -0.25, people, day),)
    assert read.recommendations(engine, "ada") == ()
    assert [row.rank for row in read.recommendations(engine, "bob", limit=1)] == [1]


def test_neighbours_are_read_with_their_names(engine, people):
    """Items have titles, users have none; both have rank, cosine and day."""
    found = ranking(["hat"], ITEMS, [[("map", 0.5), ("cup", 0.25)]])
    assert write.replace_item_neighbours(engine, people, found) == 2
    assert read.items_like(engine, "hat") == (
        ItemNeighbour("hat", 1, "map", None, 0.5, people, date(2026, 3, 1)),
        ItemNeighbour("hat", 2, "cup", "CUP", 0.25, people, date(2026, 3, 1)),
    )
    assert read.items_like(engine, "map") == read.users_like(engine, "bob") == ()
    assert make_alike(engine, people) == 6
    assert read.users_like(engine, "bob", limit=1) == (UserNeighbour("bob", 1, "ada", 1.0, people, date(2026, 3, 1)),)


@pytest.mark.parametrize("ask", [read.recommendations, read.users_like, read.items_like])
def test_whom_nobody_knows_has_no_empty_answer(engine, people, ask):
    """An unknown user or item is a NotFoundError with its id."""
    with pytest.raises(NotFoundError, match=r"no (user|item) 'nobody'"):
        ask(engine, "nobody")


def test_a_night_replaces_the_rows_of_the_one_before(engine, people, monkeypatch):
    """Nothing of the old night stays, whatever the size of the chunks; the same night again writes the same rows."""
    recommend(engine, people)
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    found = ranking(["eve", "ada"], ITEMS, [[("cup", 0.5), ("hat", 0.25)], [("hat", 0.5), ("cup", NONE)]])
    assert write.replace_recommendations(engine, later, found) == 3
    assert [(row.item_id, row.day) for row in read.recommendations(engine, "eve")] == [
        ("cup", date(2026, 3, 2)),
        ("hat", date(2026, 3, 2)),
    ]
    assert read.recommendations(engine, "bob") == ()
    before = ranked_rows(engine)
    monkeypatch.setattr(ranked, "CHUNK_ROWS", 1)
    write.replace_recommendations(engine, later, found)
    assert ranked_rows(engine) == before
    empty = Ranked(owner_ids=(), found_ids=(), found_index=np.empty((0, 0), int), scores=np.empty((0, 0), np.float32))
    assert write.replace_recommendations(engine, later, empty) == 0
    assert ranked_rows(engine)["recommendation"] == []


@pytest.mark.parametrize(
    ("write_rows", "owners", "found", "says"),
    [
        (write.replace_recommendations, ["bob", "zoe"], ITEMS, r"1 of 2 user ids .* 'zoe'"),
        (write.replace_recommendations, ["bob"], ["pen"], r"1 of 1 item ids .* 'pen'"),
        (write.replace_item_neighbours, ["cup", "pen"], ITEMS, r"1 of 2 item ids .* 'pen'"),
        (write.replace_user_neighbours, ["bob"], ["zoe"], r"1 of 1 user ids .* 'zoe'"),
        (write.replace_recommendations, ["bob", "bob"], ITEMS, "(?i)unique"),
    ],
)
def test_ranks_of_the_unknown_are_refused(engine, people, write_rows, owners, found, says):
    """An id that is not in the catalogue, or stands there twice, is a CatalogueError, and the old rows stay."""
    recommend(engine, people)
    make_alike(engine, people)
    before = ranked_rows(engine)
    with pytest.raises(CatalogueError, match=says):
        write_rows(engine, people, ranking(owners, found, [[(found[0], 0.5)]] * len(owners)))
    assert ranked_rows(engine) == before


def test_an_unknown_night_recommends_nothing(engine, people):
    """A night that never began is a NotFoundError, for ranks and for the ledger."""
    for act in (recommend, lambda engine, night_id: write.complete_forgotten(engine, night_id, at=AT)):
        with pytest.raises(NotFoundError, match="no night 9"):
            act(engine, 9)


@pytest.mark.parametrize(
    "silence",
    [
        lambda engine: write.allocate_user_keys(engine, ["bob"], night_id=None, opted_out=[True]),
        lambda engine: write.list_users(engine, ["ada", "eve"]),
        lambda engine: forget(engine, "bob"),
    ],
    ids=["opted out", "not listed", "forgotten"],
)
def test_silent_people_are_recommended_nothing_and_nobody_s_neighbours(engine, url, people, silence):
    """At once in reads and views, on either side; and tonight's rows are not even written, whoever asks for them."""
    recommend(engine, people)
    make_alike(engine, people)
    silence(engine)
    for again in (False, True):
        if again:
            assert (recommend(engine, people), make_alike(engine, people)) == (1, 2)
        assert read.recommendations(engine, "bob") == read.users_like(engine, "bob") == ()
        assert [row.neighbour_id for row in read.users_like(engine, "ada")] == ["eve"]
        assert run_sql(url, "SELECT user_id FROM v_recommendations", as_owner=True, timeout_sec=30).rows == (("eve",),)
        alike = run_sql(
            url, "SELECT user_id, neighbour_id FROM v_user_neighbours ORDER BY user_id", as_owner=True, timeout_sec=30
        ).rows
        assert alike == (("ada", "eve"), ("eve", "ada"))
    assert [row.rank for row in read.users_like(engine, "ada")] == [1]
    assert len(read.silent_users(engine)) == 1


def test_forgetting_writes_a_line_and_takes_the_ranked_rows(engine, people):
    """The line counts what the caller and the catalogue deleted; other people's rows stay as they were."""
    recommend(engine, people)
    make_alike(engine, people)
    forget(engine, "bob", statistics_exact=False)
    (line,) = read.forgotten(engine)
    assert (line.requested_at, line.actor, line.reason, line.statistics_exact) == (AT, "ops", "asked", False)
    nothing = ("conditions", "further images", "assets' events in SQL", "blind choices", "refused images")
    deleted = {"recommendations": 2, "neighbours": 4, **dict.fromkeys(nothing, 0)}
    assert line.removed == {"preference tables": 3, **deleted}
    assert (line.coefficients_at, line.coefficients_day) == (None, None)
    assert read.forgotten_user_ids(engine) == {"bob"}
    assert read.silent_users(engine) == {line.user_key}
    assert len(ranked_rows(engine)["recommendation"]) == 1
    assert len(ranked_rows(engine)["user_neighbour"]) == 2


def test_a_ledger_s_lines_are_completed_once(engine, people):
    """The first solve fills the open lines; later ones find none and change nothing. The newest line comes first."""
    assert write.complete_forgotten(engine, people, at=AT) == 0
    first, again, other = forget(engine, "bob"), forget(engine, "bob"), forget(engine, "ada")
    assert first < again < other
    assert write.complete_forgotten(engine, people, at=AT) == 3
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    last = forget(engine, "eve")
    noon = AT.replace(hour=12)
    assert (write.complete_forgotten(engine, later, at=noon), write.complete_forgotten(engine, later, at=AT)) == (1, 0)
    assert [(line.forgotten_id, line.coefficients_at, line.coefficients_day) for line in read.forgotten(engine)] == [
        (last, noon, date(2026, 3, 2)), *((each, AT, date(2026, 3, 1)) for each in (other, again, first)),
    ]  # fmt: skip


def test_whom_nobody_knows_is_not_forgotten(engine, people):
    """An unknown user is a NotFoundError and leaves no line."""
    with pytest.raises(NotFoundError, match="no user 'zoe'"):
        forget(engine, "zoe")
    assert read.forgotten(engine) == ()


def test_a_failure_while_forgetting_leaves_everything(engine, people):
    """An error at the ledger's line takes back the mark and the deleted rows."""
    recommend(engine, people)
    before = ranked_rows(engine)

    def fail(_connection, _cursor, statement, *_rest):
        if statement.startswith("INSERT INTO forgotten "):
            raise RuntimeError("power cut")

    event.listen(engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        forget(engine, "bob")
    event.remove(engine, "after_cursor_execute", fail)
    assert (ranked_rows(engine), read.forgotten_user_ids(engine), read.forgotten(engine)) == (before, frozenset(), ())


def test_a_source_does_not_bring_back_who_was_forgotten(engine, stocked):
    """Naming the person again, opted in, changes nothing: no live image, and nobody waits for one."""
    night_id, model, keys = stocked
    promote(engine, model, night_id)
    forget(engine, "ada")
    write.allocate_user_keys(engine, ["ada", "bob"], night_id=night_id, segments=["a", None], opted_out=[False, False])
    write.list_users(engine, ["ada", "bob"])
    assert read.silent_users(engine) == {keys[0]}
    assert {asset.user_id for asset in questions.latest(engine) if asset.is_live} == {"bob"}
    assert read.users_without_live(engine) == 0
    with engine.connect() as connection:
        shown = connection.execute(text("SELECT user_id, forgotten, live_asset_id IS NULL FROM v_users ORDER BY 1"))
        assert [tuple(row) for row in shown] == [("ada", True, True), ("bob", False, False)]


def test_analysts_read_ranks_and_the_ledger(engine, url, people):
    """The four views answer through `run_sql`; the ledger names nobody."""
    recommend(engine, people)
    write.replace_item_neighbours(engine, people, ranking(["hat"], ITEMS, [[("cup", 0.25)]]))
    asked = "SELECT item_id, title, rank, day FROM v_recommendations WHERE user_id = 'bob' ORDER BY rank"
    assert run_sql(url, asked, as_owner=True, timeout_sec=30).rows == (
        ("hat", "HAT", 1, "2026-03-01"),
        ("cup", "CUP", 2, "2026-03-01"),
    )
    asked = "SELECT item_id, neighbour_id, neighbour_title, cosine FROM v_item_neighbours"
    assert run_sql(url, asked, as_owner=True, timeout_sec=30).rows == (("hat", "cup", "CUP", 0.25),)
    forget(engine, "bob")
    ledger = run_sql(url, "SELECT * FROM v_forgotten", as_owner=True, timeout_sec=30)
    assert "bob" not in str(ledger.rows)
    assert "user_id" not in ledger.columns
    assert len(ledger.rows) == 1
