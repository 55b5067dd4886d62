"""The standing questions where nights are few and odd: who comes back, who moved on, who was erased."""

from dataclasses import replace

import pytest
from sqlalchemy import select, text

from personalgen.catalogue import daily, deletions, erasures, questions, ratings, schema, scopes, shards, write
from personalgen.catalogue.facts import Pointer, RatingFacts
from personalgen.catalogue.scopes import AssetFilter
from tests.integration.catalogue.small import (
    AT,
    begin,
    digest_of,
    forget,
    packed_rows,
    promote,
    register,
    rows_of,
    shard_facts,
    vector,
)


def history(engine, moves, names=("ada",)):
    """Make assets of tastes 1, 2, 5 in a night each, then let all stand at the tastes of `moves`, a night each.

    Returns (nights of the moves, night of each taste).
    """
    first = begin(engine)
    model = register(engine, first)
    keys = write.allocate_user_keys(engine, list(names), night_id=first)
    made = {taste: first if taste == 1 else begin(engine, f"made-{taste}") for taste in (1, 2, 5)}
    for taste, night_id in made.items():
        shards.commit_shard(engine, shard_facts(night_id, model, f"{taste:06d}"), rows_of(keys, taste=taste))
    columns = schema.asset.c
    with engine.connect() as connection:
        rows = connection.execute(select(columns.user_key, columns.condition_digest, columns.asset_id)).all()
    ids = {(key, taste): asset_id for key, taste, asset_id in rows}
    nights = []
    for number, taste in enumerate(moves):
        nights.append(begin(engine, f"move-{number}"))
        pointers = [Pointer(int(key), ids[int(key), taste], vector(taste), ()) for key in keys]
        shards.point_current(engine, generator_digest=digest_of(1), night_id=nights[-1], pointers=pointers)
    return nights, made


def pages_of_changes(engine, asked):
    """Return who changed, asked for row by row."""
    found, last = [], None
    while rows := questions.changed(engine, asked, limit=1, after=last):
        found += rows
        last = (rows[0].night_id, rows[0].new_asset_id)
        assert len(found) < 50
    return tuple(found)


def test_pages_of_changes_hold_equal_shifts_and_assets_that_come_again(engine):
    """To and fro is one shift in many nights, and one new asset in several: each is in one page."""
    history(engine, [1, 2, 1, 5, 2, 1])
    asked = AssetFilter(user_id="ada")
    everything = questions.changed(engine, asked)
    assert len({row.shift for row in everything}) < len({row.night_id for row in everything}) == len(everything) == 8
    assert pages_of_changes(engine, asked) == everything


def test_a_page_of_changes_goes_on_after_an_asset_that_was_deleted(engine):
    """The night that made what people changed to is deleted later: their change is told, and the next page too."""
    nights, made = history(engine, [1, 5], names=("ada", "bob"))
    deletions.delete_night(engine, made[1], actor="ops", reason="storage", at=AT)
    asked = AssetFilter(night_id=nights[0])
    everything = questions.changed(engine, asked)
    assert len(everything) == 2
    assert pages_of_changes(engine, asked) == everything


def test_a_user_outside_the_segment_is_not_shown(engine):
    """Filters are all to be met: a user's images and changes are none of another segment's, nor of none."""
    two_segments(engine)
    for segment, shown in (("a", True), ("b", False), ("", False)):
        asked = AssetFilter(user_id="ada", segment=segment)
        for ask in (questions.latest, questions.top, questions.changed):
            assert bool(ask(engine, asked)) is shown, (ask, segment)


@pytest.mark.parametrize("few_users", [scopes.FEW_USERS, 0])
def test_a_segment_s_newest_night_is_one_that_has_the_segment(engine, monkeypatch, few_users):
    """Nights that made images of others alone, or changed others alone, are passed by, however many users there are."""
    monkeypatch.setattr(scopes, "FEW_USERS", few_users)
    nights = two_segments(engine)
    for segment, made, changed in (("a", 3, 3), ("b", 2, 2), ("", 1, None)):
        asked = AssetFilter(segment=segment)
        assert {row.night_id for row in questions.top(engine, asked)} == {nights[made - 1]}
        assert {row.night_id for row in questions.changed(engine, asked)} == (
            {nights[changed - 1]} if changed else set()
        )
    assert questions.top(engine, AssetFilter(segment="nowhere")) == ()
    assert questions.top(engine, AssetFilter(segment="b", live_only=True)) == ()


def two_segments(engine):
    """Return three nights: the first made images of ada (a), bob (b) and eve (none), then ada and bob, then ada."""
    nights = [begin(engine, f"night-{number}") for number in range(3)]
    model = register(engine, nights[0])
    keys = write.allocate_user_keys(engine, ["ada", "bob", "eve"], night_id=nights[0], segments=["a", "b", None])
    for number, night_id in enumerate(nights):
        rows = rows_of(keys[: 3 - number], taste=number + 1)
        shards.commit_shard(engine, shard_facts(night_id, model, f"{number:06d}"), rows)
    return nights


def moving_on(engine):
    """Return three nights: the first scored ada, cat (a) and bob (b), then ada and bob, then ada was drawn unscored.

    The images of the first night alone are rated. Everybody sees the newest image; the model is live.
    """
    nights = [begin(engine, f"night-{number}") for number in range(3)]
    model = register(engine, nights[0])
    keys = write.allocate_user_keys(engine, ["ada", "bob", "cat"], night_id=nights[0], segments=["a", "b", "a"])
    for number, night_id in enumerate(nights):
        rows = rows_of(keys[: 3 - number], taste=number + 1)
        rows = packed_rows([replace(row, score=None if number == 2 else row.score) for row in rows])
        shards.commit_shard(engine, shard_facts(night_id, model, f"{number:06d}"), rows)
    promote(engine, model, nights[0])
    told = [
        RatingFacts(asset_id=row.asset_id, value=1.0, rater="wim", source="gallery", at=AT)
        for row in questions.latest(engine, AssetFilter(night_id=nights[0]))
    ]
    ratings.record_ratings(engine, told)
    return nights


@pytest.mark.parametrize("few_users", [scopes.FEW_USERS, 0])
def test_the_best_are_of_the_newest_night_that_has_any(engine, monkeypatch, few_users):
    """Nights without a score, a rating, or one that fits are passed by; each page is of the night of the one before."""
    monkeypatch.setattr(scopes, "FEW_USERS", few_users)
    nights = moving_on(engine)
    asked = [{}, {"segment": "a"}, {"live_only": True}, {"live_only": True, "segment": "a"}, {"segment": "nowhere"}]
    expected = {
        questions.top: [(1, "bob ada"), (1, "ada"), (1, "bob"), (0, "cat"), None],
        questions.top_rated: [(0, "cat bob ada"), (0, "cat ada"), (0, "cat"), (0, "cat"), None],
    }
    for ask, answers in expected.items():
        for given, answer in zip(asked, answers, strict=True):
            found = pages_of_assets(ask, engine, AssetFilter(**given))
            night, names = answer or (None, "")
            assert [(row.night_id, row.user_id) for row in found] == [(nights[night], one) for one in names.split()]


def pages_of_assets(ask, engine, asked):
    """Return the best, asked for row by row."""
    found, last = [], None
    while rows := ask(engine, asked, limit=1, after_asset_id=last):
        found += rows
        last = rows[0].asset_id
        assert len(found) < 50
    return found


@pytest.mark.parametrize("few_users", [scopes.FEW_USERS, 0])
def test_a_night_whose_scored_and_rated_people_were_erased_has_no_best(engine, monkeypatch, few_users):
    """Sums keep what was scored; the answer is of the newest night in which somebody is still there."""
    monkeypatch.setattr(scopes, "FEW_USERS", few_users)
    nights = two_segments(engine)
    ids = [row.asset_id for row in questions.latest(engine)]
    told = [RatingFacts(asset_id=one, value=1.0, rater="wim", source="gallery", at=AT) for one in ids]
    ratings.record_ratings(engine, told)
    erasures.begin_erasures(engine, ["ada"], actor="ops", reason="asked", at=AT)
    (ada,) = erasures.open_erasures(engine)
    for held in erasures.shards_of_people(engine, [ada.user_key]):
        erasures.commit_erased_shard(engine, held, path=held.path, sha256="e", at=AT)
    forget(engine, "ada", erased_as="erased:1")
    for ask in (questions.top, questions.top_rated):
        assert [(row.user_id, row.night_id) for row in ask(engine)] == [("bob", nights[1])]
        assert ask(engine, AssetFilter(segment="a")) == ()


def test_images_that_are_deleted_while_a_question_is_answered_are_left_out(engine, monkeypatch):
    """On PostgreSQL ids and rows are of two moments: what is gone at the second is not shown, and nothing fails."""
    two_segments(engine)
    whole, summaries = questions.latest(engine), questions._summaries

    def later(connection, ids):
        return summaries(connection, [99_999, *ids])

    monkeypatch.setattr(questions, "_summaries", later)
    assert questions.latest(engine) == whole


def test_who_changed_is_told_after_others_were_erased(engine):
    """The newest night is the newest in which somebody changed who is still there; the sums keep what was made."""
    nights = two_segments(engine)
    forget(engine, "ada")
    assert [(row.user_id, row.night_id) for row in questions.changed(engine)] == [("bob", nights[1])]
    assert sum(row.n_changed for row in daily.stats(engine)) == 3


def test_counts_are_whole_numbers(engine):
    """PostgreSQL's sum of whole numbers is a decimal: neither a count of Python nor one of a view is."""
    two_segments(engine)
    (row,) = daily.stats(engine, by=())
    counts = [row.n_images, row.n_users, row.n_changed, row.n_bytes]
    with engine.connect() as connection:
        counts += connection.scalars(text("SELECT n_quarantined FROM v_runs")).all()
        counts += connection.scalars(text("SELECT n_images FROM v_model_quality")).all()
    assert {type(count) for count in counts} == {int}


def test_a_page_may_be_longer_than_an_in_list(engine):
    """As many rows as an analyst asks for, though no statement takes as many parameters (65,535 on PostgreSQL)."""
    n_users = 70_000
    night_id = begin(engine)
    model = register(engine, night_id)
    key = write.allocate_user_keys(engine, ["ada"], night_id=night_id)
    shards.commit_shard(engine, shard_facts(night_id, model), rows_of(key))
    names = [column.name for column in schema.asset.columns if column.name not in {"asset_id", "user_key"}]
    listed = ", ".join(names)
    with engine.begin() as connection:
        connection.execute(
            text(f"""
            WITH RECURSIVE more (k) AS (SELECT 2 UNION ALL SELECT k + 1 FROM more WHERE k < {n_users})
            INSERT INTO asset (user_key, {listed}) SELECT k, {listed} FROM asset, more
        """)
        )
    found = questions.latest(engine, limit=n_users)
    assert [row.asset_id for row in found] == sorted((row.asset_id for row in found), reverse=True)
    assert len(found) == n_users
