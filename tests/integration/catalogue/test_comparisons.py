"""Blind choices, on either database."""

from dataclasses import replace

import pytest

from personalgen.catalogue import comparisons, read, write
from personalgen.catalogue.query import run_sql
from personalgen.errors import CatalogueError, NotFoundError
from tests.integration.catalogue.small import (
    AT,
    begin,
    forget,
    model_facts,
    vote,
)


def test_a_vote_entered_twice_is_one_row(engine, people):
    """Again it writes nothing; another answer of the same voter takes its place, another voter's stands beside it."""
    assert comparisons.record_comparisons(engine, people, [vote(), vote("bob", winner="tie")], at=AT) == 2
    assert comparisons.record_comparisons(engine, people, [vote(source="notebook")], at=AT.replace(hour=12)) == 0
    first = comparisons.comparisons(engine)[0]
    assert (first.user_id, first.winner, first.source, first.at) == ("ada", "left", "terminal", AT)
    assert (first.right_generator_digest, first.left_variant) == (2**62 + 1, 0)
    changed = [vote(winner="right"), vote(voter="wim")]
    assert comparisons.record_comparisons(engine, people, changed, at=AT.replace(hour=12)) == 2
    found = [(row.user_id, row.voter, row.winner) for row in comparisons.comparisons(engine)]
    assert found == [("ada", "vera", "right"), ("bob", "vera", "tie"), ("ada", "wim", "left")]


def test_votes_are_read_by_night_and_by_the_two_models(engine, people):
    """Both sides count, whichever model was left; other models and nights do not."""
    later, other = begin(engine, "night-b"), 2**62 + 1
    turned = vote("bob", left_generator_digest=other, right_generator_digest=1)
    comparisons.record_comparisons(engine, people, [vote(), turned, vote("eve", left_generator_digest=9)], at=AT)
    comparisons.record_comparisons(engine, later, [vote()], at=AT)
    assert [row.user_id for row in comparisons.comparisons(engine, between=(1, other))] == ["ada", "bob", "ada"]
    assert comparisons.comparisons(engine, between=(other, 1)) == comparisons.comparisons(engine, between=(1, other))
    assert len(comparisons.comparisons(engine, night_id=people)) == 3
    assert comparisons.comparisons(engine, between=(1, 3)) == ()


@pytest.mark.parametrize("changes", [{"winner": "both"}, {"source": "guess"}, {"user_id": "zoe"}])
def test_one_bad_vote_refuses_all(engine, people, changes):
    """A winner or source of another name, and an unknown person, leave the table as it was."""
    with pytest.raises((CatalogueError, NotFoundError), match="Nothing was changed"):
        comparisons.record_comparisons(engine, people, [vote("bob"), vote(**changes)], at=AT)
    with pytest.raises(NotFoundError, match="no night 99"):
        comparisons.record_comparisons(engine, 99, [vote()], at=AT)
    assert comparisons.comparisons(engine) == ()


def test_who_is_forgotten_has_no_blind_choice(engine, people):
    """The rows about this person are deleted and counted, other people's stay, and no later vote names the person."""
    comparisons.record_comparisons(engine, people, [vote(), vote(voter="wim"), vote("bob")], at=AT)
    forget(engine, "ada")
    assert read.forgotten(engine)[0].removed["blind choices"] == 2
    assert [row.user_id for row in comparisons.comparisons(engine)] == ["bob"]
    with pytest.raises(NotFoundError, match=r"1 of 1 people .* forgotten, the first 'ada'"):
        comparisons.record_comparisons(engine, people, [vote()], at=AT)


def test_analysts_read_blind_choices(engine, url, people):
    """v_comparisons names the person, the versions where there are any, and which of them was chosen."""
    model = write.register_model(engine, model_facts(people, 3), at=AT)
    digest = read.model_by_id(engine, model).generator_digest
    votes = [vote(right_generator_digest=digest, winner=winner) for winner in ("right", "tie")]
    comparisons.record_comparisons(engine, people, [votes[0], replace(votes[1], user_id="bob")], at=AT)
    asked = "SELECT user_id, left_version, right_version, chosen_version, right_generator, day FROM v_comparisons"
    assert run_sql(url, f"{asked} ORDER BY comparison_id", as_owner=True, timeout_sec=30).rows == (
        ("ada", None, 3, 3, str(digest), "2026-03-01"), ("bob", None, 3, None, str(digest), "2026-03-01"),
    )  # fmt: skip
