"""Sums and changes that are kept in the shard's transaction, on either database."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from sqlalchemy import event, select, text

from personalgen.catalogue import daily, deletions, planning, questions, schema, shards, summaries
from personalgen.catalogue.facts import HistorySummaries, Pointer
from personalgen.catalogue.migrations import downgrade, upgrade
from personalgen.catalogue.rollups import shifts
from personalgen.catalogue.rows import ChangedUser, DailyFigures
from personalgen.catalogue.scopes import AssetFilter
from personalgen.errors import ConfigError, NotFoundError
from tests.integration.catalogue.small import AT, begin, digest_of, forget, register, rows_of, shard_facts, vector

COUNTED = """
    SELECT a.night_id, a.model_version_id, COALESCE(u.segment, '') AS segment, COUNT(*), SUM(a.byte_length),
           COUNT(a.score), COALESCE(SUM(a.score), 0), MIN(a.asset_id), MAX(a.asset_id)
    FROM asset a JOIN "user" u ON u.user_key = a.user_key GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
KEPT = """
    SELECT night_id, model_version_id, segment, n_images, n_bytes, n_scored, score_sum, first_asset_id, last_asset_id
    FROM daily_stat ORDER BY 1, 2, 3
"""


def all_rows(engine, statement):
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def figures(segment, **changes):
    """Return what a night made for one of two segments, each of one user with two images."""
    facts = DailyFigures(None, None, None, segment, n_images=2, n_users=1, n_changed=0, n_bytes=198, mean_score=0.5)
    return replace(facts, **changes)


def test_the_roll_up_is_what_counting_says(engine, stocked):
    """After new shards, a rerun and one that overlaps an older one, sums are those of the asset table."""
    night_id, model, keys = stocked
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    shards.commit_shard(engine, shard_facts(night_id, model), rows_of(keys, variants=2))
    shards.commit_shard(engine, shard_facts(later, model, "000001"), rows_of(keys, variants=3))
    shards.commit_shard(engine, shard_facts(later, model, "000002"), rows_of(keys[:1], taste=5))
    assert all_rows(engine, KEPT) == all_rows(engine, COUNTED)
    assert len(all_rows(engine, KEPT)) == 4
    assert daily.stats(engine, AssetFilter(night_id=night_id), by=("segment",)) == (
        (figures(None), figures("a")) if engine.dialect.name == "postgresql" else (figures("a"), figures(None))
    )


def test_a_shard_that_failed_counts_nothing(engine, stocked):
    """A power cut after the roll-up takes it back with the shard."""
    night_id, model, keys = stocked
    before = all_rows(engine, KEPT)

    def fail(_connection, _cursor, statement, *_rest):
        if statement.startswith("INSERT INTO user_current "):
            raise RuntimeError("power cut")

    event.listen(engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    event.remove(engine, "after_cursor_execute", fail)
    assert all_rows(engine, KEPT) == before


def test_who_changed_is_told_with_old_and_new_asset_and_shift(engine, stocked):
    """A first image is no change, the next one is; the shift is 1 - cosine, and the day's sum counts the users."""
    _, model, keys = stocked
    assert questions.changed(engine) == ()
    old = planning.current_conditions(engine, digest_of(1), keys[:1]).asset_ids[0]
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    shards.commit_shard(engine, shard_facts(later, model, "000001"), rows_of(keys[:1], taste=3))
    new = planning.current_conditions(engine, digest_of(1), keys[:1]).asset_ids[0]
    (found,) = questions.changed(engine)
    far = 1 - (3 * 1 + 1) / np.sqrt(10 * 2)
    assert found == ChangedUser(later, date(2026, 3, 2), "ada", "a", "gan", 1, old, new, pytest.approx(far))
    assert [(row.day, row.n_changed) for row in daily.stats(engine)] == [(date(2026, 3, 2), 1), (date(2026, 3, 1), 0)]


def test_who_comes_back_within_a_night_did_not_change(engine, stocked):
    """Moved and moved back in one night is no row of the answer and not counted; moved twice counts once."""
    night_id, model, keys = stocked
    first = planning.current_conditions(engine, digest_of(1))
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    shards.commit_shard(engine, shard_facts(night_id, model, "000002"), rows_of(keys[1:], taste=4))
    assert [row.n_changed for row in daily.stats(engine)] == [2]
    back = Pointer(int(first.user_keys[0]), int(first.asset_ids[0]), vector(1))
    shards.point_current(engine, generator_digest=digest_of(1), night_id=night_id, pointers=[back])
    (left,) = questions.changed(engine)
    assert (left.user_id, left.old_asset_id) == ("bob", first.asset_ids[1])
    assert [row.n_changed for row in daily.stats(engine)] == [1]


def test_the_shift_of_rows_without_length_is_defined():
    """Equal rows are at 0, also of zeros; a zero row and another at 1; opposite ones at 2."""
    rows = [np.array(row, dtype="<f4").tobytes() for row in ([0, 0], [3, 0], [-1, 0])]
    assert shifts([rows[0], rows[0], rows[1], rows[1]], [rows[0], rows[1], rows[1], rows[2]]).tolist() == [0, 1, 0, 2]


def test_sums_know_no_user(engine):
    """Asking the roll-up for a user, for what is live, or by something else is a ConfigError."""
    for asked in (AssetFilter(user_id="ada"), AssetFilter(live_only=True)):
        with pytest.raises(ConfigError, match="know no user"):
            daily.stats(engine, asked)
    with pytest.raises(ConfigError, match="not by week"):
        daily.groups(["day", "week"])


def summary(names, n_events):
    seconds = np.full(len(names), 1_772_000_000)
    return HistorySummaries(
        user_ids=tuple(names), n_events=np.array(n_events), n_likes=np.array(n_events) - 1, first_event=seconds,
        last_event=seconds + 60,
    )  # fmt: skip


def test_summaries_are_those_of_the_newest_night(engine, stocked):
    """A row is written where it differs, kept where it is equal, and gone for who has no event any more."""
    night_id, _, _ = stocked
    assert summaries.replace_summaries(engine, night_id, summary(["bob", "ada"], [5, 3])) == 2
    later = begin(engine, "night-b")
    assert summaries.replace_summaries(engine, later, summary(["ada"], [3])) == 0
    shown = "SELECT user_id, n_events, n_likes FROM v_users ORDER BY user_id"
    assert all_rows(engine, shown) == [("ada", 3, 2), ("bob", None, None)]
    with engine.connect() as connection:
        (row,) = connection.execute(select(schema.user_summary)).all()
    assert (row.night_id, row.last_event_at) == (night_id, datetime.fromtimestamp(1_772_000_060, UTC))
    with pytest.raises(NotFoundError, match=r"1 of 1 users .* 'zoe'"):
        summaries.replace_summaries(engine, later, summary(["zoe"], [3]))


def test_who_is_forgotten_leaves_no_change_and_no_summary(engine, stocked):
    """The person's rows are deleted and counted, other people's and the sums stay."""
    night_id, model, keys = stocked
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    summaries.replace_summaries(engine, night_id, summary(["bob", "ada"], [5, 3]))
    sums = all_rows(engine, KEPT)
    forget(engine, "ada")
    removed = all_rows(engine, "SELECT CAST(removed AS TEXT) FROM v_forgotten")[0][0]
    assert '"user_change": 1' in removed
    assert '"user_summary": 1' in removed
    assert [row.user_id for row in questions.changed(engine)] == ["bob"]
    assert all_rows(engine, KEPT) == sums


def test_a_deleted_night_leaves_no_sum(engine, stocked):
    """Its rows of the roll-up go with its images; those of other nights stay."""
    _, model, keys = stocked
    before = all_rows(engine, KEPT)
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    facts = shard_facts(later, model, "000001")
    shards.commit_shard(engine, facts, rows_of(keys, taste=2), move=False)
    line = deletions.delete_night(engine, later, actor="ops", reason="old", at=AT)
    assert line.removed["daily_stat"] == 2
    assert all_rows(engine, KEPT) == before


def test_a_catalogue_of_the_fourth_revision_goes_on(engine, stocked):
    """The roll-up of nights from before is counted from their assets; the next shard goes on from there."""
    night_id, model, keys = stocked
    before = all_rows(engine, KEPT)
    downgrade(engine, "0004")
    upgrade(engine)
    assert all_rows(engine, KEPT) == before == all_rows(engine, COUNTED)
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    assert all_rows(engine, KEPT) == all_rows(engine, COUNTED)


def test_a_model_that_redraws_everybody_changes_nobody(engine, stocked):
    """The first images of a second model are no change, and stand in a sum of their own."""
    night_id, _, keys = stocked
    second = register(engine, night_id, version=2)
    shards.commit_shard(engine, shard_facts(night_id, second, "000001"), rows_of(keys, version=2))
    assert questions.changed(engine) == ()
    by_model = {row.model_version: row.n_images for row in daily.stats(engine, by=("model",))}
    assert by_model == {1: 4, 2: 2}
