"""Nights, models, users, items and quarantine, on either database."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from sqlalchemy import select

from personalgen.catalogue import read, schema, write
from personalgen.catalogue.facts import (
    ItemFacts,
    QuarantineFacts,
)
from personalgen.errors import CatalogueError, NotFoundError
from tests.integration.catalogue.small import (
    AT,
    begin,
    counts,
    model_facts,
    register,
)


def test_a_night_begins_once_however_often_it_is_tried(engine):
    """A second attempt keeps the id and the runs it does not name, counts itself, and reopens a finished night."""
    first = begin(engine)
    write.finish_night(engine, first, status="failed", counts={"users": 2}, at=AT)
    assert begin(engine, mlflow_run_id=None, prefect_flow_run_id="flow") == first
    (night,) = read.nights(engine)
    assert (night.attempts, night.status, night.mlflow_run_id, night.prefect_flow_run_id) == (
        2,
        "running",
        "run",
        "flow",
    )
    assert (night.as_of, night.day, night.counts, night.finished_at) == (AT, date(2026, 3, 1), {"users": 2}, None)
    assert read.night_by_key(engine, "night-a") == night
    assert read.night_by_key(engine, "never") is None


def test_an_unknown_night_cannot_be_finished(engine):
    """Finishing a night that never began is a NotFoundError."""
    with pytest.raises(NotFoundError, match="no night 9"):
        write.finish_night(engine, 9, status="done", at=AT)


def test_a_model_is_registered_once(engine):
    """Registering the same weights again returns the same id, takes the new verdict, and no number of the next one."""
    night_id = begin(engine)
    first = register(engine, night_id)
    again = write.register_model(engine, replace(model_facts(night_id), verdict={"kid": 0.1}), at=AT)
    (model,) = read.model_versions(engine, model_name="gan")
    assert (again, model.verdict, model.created_at) == (first, {"kid": 0.1}, AT)
    assert model == read.model_by_version(engine, "gan", 1) == read.model_by_id(engine, first)
    assert model == read.model_by_weights(engine, "1" * 64)
    assert read.model_by_weights(engine, "2" * 64) is None
    assert register(engine, night_id, version=2) == first + 1


@pytest.mark.parametrize("changes", [{"version": 2}, {"model_name": "other"}, {"generator_sha256": "9" * 64}])
def test_a_model_is_not_registered_as_something_else(engine, changes):
    """The same weights under another version, or other weights under the same, are refused and change nothing."""
    night_id = begin(engine)
    register(engine, night_id)
    with pytest.raises(CatalogueError, match="the catalogue holds gan v1"):
        write.register_model(engine, replace(model_facts(night_id), **changes), at=AT)
    assert counts(engine)["model_version"] == 1


def test_user_keys_follow_the_order_asked_and_stay(engine):
    """Keys come in the order asked, are allocated in sorted order, and known users keep theirs."""
    night_id = begin(engine)
    first = write.allocate_user_keys(engine, ["b", "a", "b"], night_id=night_id)
    second = write.allocate_user_keys(engine, ["c", "a", "b"], night_id=night_id)
    assert first.dtype == np.int64
    assert first[1] < first[0] == first[2]
    assert second[1:].tolist() == [first[1], first[0]]
    assert second[0] > first.max()


def test_a_user_s_segment_and_wish_are_refreshed_only_where_given(engine):
    """Segments and opting out replace what was stored where they are given, and stay where they are not."""
    night_id = begin(engine)
    write.allocate_user_keys(engine, ["a", "b"], night_id=night_id, segments=["x", "y"], opted_out=[True, False])
    write.allocate_user_keys(engine, ["a", "b"], night_id=None, segments=["z", "y"])
    with engine.connect() as connection:
        rows = connection.execute(select(schema.user).order_by(schema.user.c.user_id)).all()
    assert [(r.segment, r.opted_out, r.first_night_id) for r in rows] == [("z", True, night_id), ("y", False, night_id)]


def test_items_are_inserted_and_refreshed(engine):
    """New items are inserted, changed titles and pictures replaced, equal rows not written, the split never."""
    night_id = begin(engine)
    items = [
        ItemFacts(item_id="b", split="train", title="B"),
        ItemFacts(item_id="a", split="test", image_sha256="f" * 64),
    ]
    assert write.upsert_items(engine, items, night_id=night_id) == 2
    assert write.upsert_items(engine, items, night_id=night_id) == 0
    assert write.upsert_items(engine, [replace(items[0], title="C", split="judge")], night_id=None) == 1
    with engine.connect() as connection:
        rows = connection.execute(select(schema.item).order_by(schema.item.c.item_key)).all()
    assert [(r.item_id, r.title, r.split, r.first_night_id) for r in rows] == [
        ("a", None, "test", night_id),
        ("b", "C", "train", night_id),
    ]


def test_quarantine_counts_are_those_of_the_last_attempt(engine):
    """A second attempt of a night replaces its counts instead of adding to them."""
    night_id = begin(engine)
    facts = QuarantineFacts(source_table="interactions", reason="no_item", n_rows=5, path="q.parquet")
    write.record_quarantine(engine, night_id, [facts])
    write.record_quarantine(engine, night_id, [replace(facts, n_rows=4), replace(facts, reason="null_id")])
    assert counts(engine)["quarantine"] == 2
    assert read.night_counts(engine, night_id).n_quarantined == 9
