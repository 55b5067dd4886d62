"""Scores that a judge gives after the night's images are there, on either database."""

import pytest
from sqlalchemy import select, update

from personalgen.catalogue import daily, questions, schema, scores, shards
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.scopes import AssetFilter
from tests.integration.catalogue.small import begin, rows_of, shard_facts
from tests.integration.catalogue.test_rollups import COUNTED, KEPT, all_rows


@pytest.fixture
def waiting(engine, stocked):
    """Return the ids of the images without a score: the second one of each of two people."""
    return [one.asset_id for page in scores.unscored(engine, stocked[0]) for one in page]


def test_what_has_no_score_waits_for_one(engine, stocked, waiting):
    """Images of this night without a score come in the order of their bytes, with the place of these."""
    night_id, model, keys = stocked
    later = begin(engine, "night-b")
    shards.commit_shard(engine, shard_facts(later, model, "000001"), rows_of(keys, taste=2, variants=2))
    (page,) = scores.unscored(engine, night_id)
    assert [(one.asset_id, one.user_key) for one in page] == list(zip(waiting, keys.tolist(), strict=True))
    assert {one[2:] for one in page} == {(f"shards/night={night_id:06d}/000000.tar", 512, 99, 2**32 - 1)}
    assert list(scores.unscored(engine, begin(engine, "night-c"))) == []


def test_scores_and_their_sums_are_written_together(engine, stocked, waiting):
    """The roll-up says what counting says, by the segment of each person; the best comes first."""
    assert scores.record_scores(engine, [(waiting[0], 0.75), (waiting[1], -0.25)]) == 2
    assert all_rows(engine, KEPT) == all_rows(engine, COUNTED)
    by_segment = {row.segment: row.mean_score for row in daily.stats(engine, by=("segment",))}
    assert by_segment == {"a": 0.625, None: 0.125}
    assert scores.scores_of_night(engine, stocked[0]) == (4, 0.375)
    assert [row.score for row in questions.top(engine, AssetFilter(night_id=stocked[0]))] == [0.75, 0.5, 0.5, -0.25]


def test_an_image_keeps_its_first_score(engine, waiting):
    """A second score of the same image changes neither it nor the sums."""
    scores.record_scores(engine, [(waiting[0], 0.75)])
    assert scores.record_scores(engine, [(waiting[0], -1.0), (waiting[1], 0.5)]) == 1
    with engine.connect() as connection:
        found = connection.scalars(select(schema.asset.c.score).where(schema.asset.c.asset_id.in_(waiting)))
        assert sorted(found) == [0.5, 0.75]
    assert all_rows(engine, KEPT) == all_rows(engine, COUNTED)


def test_a_limit_takes_the_smallest_seeds(engine, stocked, waiting):
    """Those drawn by hash wait for a score, others do not; those that have one count among the few."""
    with transaction(engine) as connection:
        for seed, asset_id in enumerate(reversed(waiting)):
            own = update(schema.asset).where(schema.asset.c.asset_id == asset_id)
            connection.execute(own.values(seed=seed))
    (page,) = scores.unscored(engine, stocked[0], most=1)
    assert [one.asset_id for one in page] == waiting[1:]
    scores.record_scores(engine, [(waiting[1], 0.5)])
    assert list(scores.unscored(engine, stocked[0], most=1)) == []
    assert list(scores.unscored(engine, stocked[0], most=0)) == []


def test_pages_are_the_same_ranges_however_far_a_run_came(engine, stocked, waiting, monkeypatch):
    """A run that goes on sees the pages that are left as the first one would have."""
    monkeypatch.setattr(scores, "_PAGE", 2)
    first = list(scores.unscored(engine, stocked[0]))
    assert [len(page) for page in first] == [1, 1]
    scores.record_scores(engine, [(waiting[0], 0.5)])
    assert list(scores.unscored(engine, stocked[0])) == first[1:]
