"""What docs/catalogue.md promises: every column of every view, and every statement, on either database."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from personalgen.catalogue import shards, write
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.views import VIEWS
from tests.integration.catalogue.small import AT, begin, model_facts, promote, rows_of, shard_facts

PAGE = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.*?)\n```", PAGE, re.DOTALL)
SECTIONS = dict(re.findall(r"### (v_\w+)\n(.*?)(?=\n##)", PAGE, re.DOTALL))


def test_there_are_twenty_questions():
    """The page holds twenty statements, numbered, and a section for each view."""
    assert len(STATEMENTS) == 20
    assert [int(number) for number in re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE)] == list(range(1, 21))
    assert set(SECTIONS) == set(VIEWS)


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_is_described(engine, view):
    """The page names the columns of a view in its order, each with some words."""
    with engine.connect() as connection:
        columns = list(connection.execute(text(f"SELECT * FROM {view}")).keys())
    told = re.findall(r"^\| (\w+) \| \S", SECTIONS[view], re.MULTILINE)
    assert [name for name in told if name != "column"] == columns


@pytest.mark.parametrize("number", range(1, 21))
def test_every_question_is_answered(url, engine, stocked, number):
    """A statement of the page runs under the analysts' rules, on a catalogue of two nights."""
    _, model, keys = stocked
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    shards.commit_shard(engine, shard_facts(later, model, "000001"), rows_of(keys, taste=2))
    promote(engine, model, later)
    result = run_sql(url, STATEMENTS[number - 1], as_owner=True, timeout_sec=30)
    assert result.columns
    if number in {1, 2, 3, 4, 5, 6, 10, 12, 13, 14, 18}:
        assert result.rows, STATEMENTS[number - 1]


def test_a_model_s_life_is_told(url, engine, stocked):
    """v_model_quality has the figures of the evaluation, when a model was live, and what it drew."""
    night_id, first, _ = stocked
    verdict = {"evaluation": {"fit_gain": 0.25, "kid": 1.5, "n_users": 40.0, "diversity_between": 0.75}}
    facts = replace(model_facts(night_id, 2), verdict=verdict)
    second = write.register_model(engine, facts, at=AT)
    promote(engine, first, night_id, at=AT)
    promote(engine, second, night_id, at=AT.replace(hour=4))
    asked = "SELECT model_version, gain, kid, npg, diversity, n_judged, is_live, n_images, n_holds FROM v_model_quality"
    assert run_sql(url, f"{asked} ORDER BY 1", as_owner=True, timeout_sec=30).rows == (
        (1, None, None, None, None, None, False, 4, 0), (2, 0.25, 1.5, None, 0.75, 40.0, True, 0, 0),
    )  # fmt: skip
    asked = "SELECT model_version, promoted_at, live_until FROM v_model_quality ORDER BY 1"
    (_, promoted, until), (_, after, never) = run_sql(url, asked, as_owner=True, timeout_sec=30).rows
    assert (promoted[11:13], until[11:13], after[11:13], never) == ("03", "04", "04", None)
