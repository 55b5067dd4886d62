import builtins
from types import SimpleNamespace

import pytest

from personalgen.catalogue import comparisons
from personalgen.cli.vote import ask, outcome_lines
from personalgen.errors import DataError
from personalgen.evaluation import Interval, PositionBias, VoterAgreement
from personalgen.steps import Outcome


@pytest.fixture
def asked(voting):
    """Return what the command asks about: three pairs of a night."""
    return SimpleNamespace(opened=voting.workspace, night=voting.night, pairs=voting.pairs)


@pytest.fixture
def type_in(monkeypatch):
    """Return a function that has these lines typed in; afterwards the input ends."""

    def start(*lines):
        waiting, questions = list(lines), []

        def answer(question):
            questions.append(question)
            if not waiting:
                raise EOFError
            return waiting.pop(0)

        monkeypatch.setattr(builtins, "input", answer)
        return questions

    return start


def rows(asked):
    return [(row.user_id, row.winner, row.voter) for row in comparisons.comparisons(asked.opened.engine)]


def test_letters_become_choices_of_the_voter(asked, type_in, capsys):
    """l, r and t are stored at once; another letter is asked again, s leaves a pair out."""
    questions = type_in("x", "", "L", "s", "t")
    ask(asked, "vera")
    assert rows(asked) == [("ada", "left", "vera"), ("cid", "tie", "vera")]
    assert len(questions) == 5
    assert [str(asked.pairs.folder / f"pair-n-{k}.png") in questions[i] for k, i in ((1, 0), (2, 3), (3, 4))] == [
        True
    ] * 3
    assert "3 pairs, 0 of them answered by vera" in capsys.readouterr().out


@pytest.mark.parametrize("end", [("q",), ()])
def test_a_voter_may_stop_and_go_on(asked, type_in, end):
    """q, or the end of the input, keeps what was answered; the next time only the rest is asked."""
    type_in("r", *end)
    ask(asked, "vera")
    assert rows(asked) == [("ada", "right", "vera")]
    type_in("l", "l")
    ask(asked, "vera")
    assert [user_id for user_id, *_ in rows(asked)] == ["ada", "bob", "cid"]
    questions = type_in("q")
    ask(asked, "vera")
    assert questions == []
    ask(asked, "wim")
    assert len(questions) == 1


def test_a_voter_s_name_has_bounds(asked, type_in):
    """A name that the catalogue could not hold everywhere is refused at the first answer."""
    type_in("l")
    with pytest.raises(DataError, match="1 to 128 characters, found 129"):
        ask(asked, "v" * 129)
    assert rows(asked) == []


def test_the_outcome_is_told_with_intervals():
    """Strengths, preference, position with its odds, and agreement where pairs were seen twice."""
    found = Outcome(
        24, 6, 2, 15, {"challenger": Interval(0.2, -0.1, 0.5), "champion": Interval(-0.2, -0.5, 0.1)},
        Interval(0.6, 0.45, 0.7), PositionBias(Interval(0.5, 0.3, 0.7), 1.0, 18), VoterAgreement(0.75, 0.5, 8),
    )  # fmt: skip
    lines = outcome_lines(found)
    assert lines["choices"] == "24 by 2 voters for 15 people, 6 ties"
    assert lines["champion"] == "strength -0.2 [-0.5, 0.1]"
    assert lines["preferred"] == "the challenger with probability 0.6 [0.45, 0.7]; 0.5 is no preference"
    assert "odds of that by chance 1" in lines["position"]
    assert lines["agreement"] == "0.75 of 8 pairs of voters; by chance 0.5"
