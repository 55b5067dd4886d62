import math
from dataclasses import replace

import pytest

from personalgen.catalogue.comparisons import comparisons
from personalgen.errors import DataError, NotFoundError
from personalgen.steps import Pairs, outcome, read_choices, store_choices
from personalgen.steps.choices import TABLE, choices_table, votes_between
from personalgen.steps.vote import forget_in_pairs


@pytest.fixture
def table(tmp_path):
    """Return a function that writes lines below the header of a table and returns its path."""

    def write(*lines, header="pair,choice,voter"):
        path = tmp_path / "filled.csv"
        path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        return path

    return write


def store(voting, path):
    return store_choices(voting.workspace, voting.night, read_choices(voting.pairs, path))


def test_the_key_is_read_as_it_was_written(voting, tmp_path):
    """Pairs survive the file; a folder without a key is told apart, with the command that makes one."""
    assert Pairs.load(voting.pairs.folder) == voting.pairs
    with pytest.raises(NotFoundError, match="personalgen evaluate --vote"):
        Pairs.load(tmp_path / "nowhere")


def test_the_table_to_fill_in_is_blind(voting):
    """It holds names of pairs and the voter, neither a person's id nor a model's."""
    text = choices_table(voting.pairs, "vera")
    assert text.splitlines() == ["pair,choice,voter", "n-1,,vera", "n-2,,vera", "n-3,,vera"]


def test_filled_rows_become_choices(voting, table):
    """Spaces, capitals and a byte-order mark do no harm, empty rows are left out, and a side is told by the key."""
    path = table(
        "n-1, Left ,vera",
        "n-2,,vera",
        "n-3,tie,vera",
        "n-2,right,wim",
        "n-2,RIGHT,wim",
        header="\ufeffpair,choice,voter",
    )
    facts = read_choices(voting.pairs, path, source="notebook")
    assert [(each.user_id, each.winner, each.voter, each.source) for each in facts] == [
        ("ada", "left", "vera", "notebook"), ("cid", "tie", "vera", "notebook"), ("bob", "right", "wim", "notebook"),
    ]  # fmt: skip
    assert facts[0].left_generator_digest == voting.pairs.challenger
    assert facts[2].right_generator_digest == voting.pairs.challenger


def test_who_is_forgotten_is_in_no_table(voting):
    """The row of the pair stays, without what a person chose and without the name; others' rows are as they were."""
    pairs = replace(voting.pairs, folder=voting.workspace.data / "votes" / "n")
    pairs.save()
    path = pairs.folder / TABLE
    path.write_bytes(b"pair,choice,voter\nn-1,left,dan\nn-2,,dan\nn-3,tie,Ren\xe9\n")
    assert forget_in_pairs(voting.workspace, {"dan"}) == {}
    assert path.read_bytes() == b"pair,choice,voter\nn-1,,\nn-2,,\nn-3,tie,Ren\xe9\n"
    written = path.stat().st_mtime_ns
    forget_in_pairs(voting.workspace, {"dan", "voter"})
    assert path.stat().st_mtime_ns == written


def test_a_row_that_ends_early_is_empty(voting, table):
    """What is not there was not chosen."""
    assert len(read_choices(voting.pairs, table("n-1,left,vera", "n-2", ""))) == 1


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("9,left,vera", "line 3: there is no pair '9'"),
        (",left,vera", "line 3: there is no pair ''"),
        ("n-2,links,vera", "line 3: a choice is left, right, tie or empty, found 'links'"),
        ("n-2,left,", "line 3: a choice needs a voter of 1 to 128 characters, found 0"),
        ("n-1,right,vera", "line 3: vera chose left for pair n-1 above, found right"),
        ("n-2,left,vera,more", "line 3: more cells than columns"),
    ],
)
def test_a_bad_row_refuses_the_table(voting, table, line, fault):
    """The line is named and nothing is stored, good rows neither."""
    with pytest.raises(DataError, match="has 1 bad rows") as caught:
        store(voting, table("n-1,left,vera", line))
    assert fault in str(caught.value)
    assert "Nothing was stored" in str(caught.value)
    assert comparisons(voting.workspace.engine) == ()


def test_what_is_no_such_table_is_refused(voting, table, tmp_path):
    """Other columns, another kind of file and a file that is not there, each with what was found."""
    with pytest.raises(DataError, match="must have the columns pair, choice, voter, found pair;choice"):
        read_choices(voting.pairs, table(header="pair;choice"))
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match="is no table"):
        read_choices(voting.pairs, picture)
    with pytest.raises(NotFoundError, match="There is no table"):
        read_choices(voting.pairs, tmp_path / "no.csv")


def test_the_outcome_speaks_of_the_challenger_whichever_side_it_was(voting, table):
    """Left for ada and right for bob are both the challenger; the same table twice is stored once."""
    path = table("n-1,left,vera", "n-2,right,vera", "n-3,tie,vera")
    assert (store(voting, path), store(voting, path)) == (3, 0)
    found = outcome(voting.workspace, voting.pairs)
    assert (found.n_choices, found.n_ties, found.n_voters, found.n_people) == (3, 1, 1, 3)
    assert found.preferred.value == pytest.approx(3 / 4)  # 2.5 of 3, and half a win for each side
    difference = found.strengths["challenger"].value - found.strengths["champion"].value
    assert difference == pytest.approx(math.log(3))
    assert found.bias.left.value == 0.5


def test_without_a_choice_there_is_no_outcome(voting, table):
    """Nobody voted: nothing is said; where all are ties there is no position to speak of."""
    assert outcome(voting.workspace, voting.pairs) is None
    store(voting, table("n-1,tie,vera"))
    assert outcome(voting.workspace, voting.pairs).bias is None


def test_the_gate_reads_votes_where_it_asks_for_them(voting, table):
    """Without gate.min_votes, a champion or a choice there is nothing; else the challenger's side of it."""
    store(voting, table("n-1,left,vera", "n-2,right,vera", "n-3,left,wim"))
    asking = voting.asking(min_votes=2)
    votes = votes_between(asking, "7" * 64, 1)
    assert (votes.n, votes.preferred) == (3, pytest.approx(3.5 / 4))
    assert votes.low < votes.preferred < votes.high
    assert votes_between(voting.workspace, "7" * 64, 1) is None
    assert votes_between(asking, "7" * 64, 0) is None
    assert votes_between(asking, "5" * 64, 1) is None
    asking.engine.dispose()


def test_votes_of_another_operating_point_are_about_other_pictures(voting, table):
    """They are kept, and neither counted for the gate nor in the outcome."""
    elsewhere = replace(voting.pairs, operating_point_digest=5)
    store_choices(voting.workspace, voting.night, read_choices(elsewhere, table("n-1,left,vera")))
    assert outcome(voting.workspace, voting.pairs) is None
    assert len(comparisons(voting.workspace.engine)) == 1
