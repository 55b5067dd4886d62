import csv
import io
import json
import re
from datetime import UTC, date, datetime

import numpy as np
import pytest

from personalgen.catalogue import write
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.facts import ForgottenFacts, ItemFacts, NightFacts, Ranked
from personalgen.catalogue.migrations import upgrade
from personalgen.cli import main
from tests.catalogues import Catalogue

AT = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def home(tmp_path_factory, new_catalogue):
    """Return a home whose catalogue has ranks for ada and none for bob; eve was forgotten, and a night solved anew."""
    path = tmp_path_factory.mktemp("home")
    catalogue = new_catalogue(path)
    engine = open_catalogue(catalogue.url)
    upgrade(engine)
    facts = NightFacts(
        night_key="k", source="demo", as_of=AT, day=date(2026, 3, 1), source_digest="s", config_digest="c"
    )
    night_id = write.begin_night(engine, facts, at=AT)
    write.allocate_user_keys(engine, ["ada", "bob", "eve"], night_id=night_id)
    items = [ItemFacts(item_id="cup", split="train", title="Cup"), ItemFacts(item_id="hat", split="train")]
    write.upsert_items(engine, items, night_id=night_id)
    write.replace_recommendations(engine, night_id, ranked(["ada"], ["cup", "hat"]))
    write.replace_item_neighbours(engine, night_id, ranked(["hat"], ["cup"]))
    write.replace_user_neighbours(engine, night_id, ranked(["ada"], ["bob", "eve"]))
    for user_id in ("eve", "eve"):
        forgotten = ForgottenFacts(
            user_id=user_id, actor="ops", reason="asked", statistics_exact=True, removed={"preference tables": 3}
        )
        write.record_forgotten(engine, forgotten, at=AT)
        write.complete_forgotten(engine, night_id, at=AT)
    engine.dispose()
    return path, catalogue


@pytest.fixture
def tell(home, capsys):
    """Return a function that runs the command line in the home and gives code, output and errors."""

    def run(*arguments, kept=home):
        folder, catalogue = kept
        code = main([*arguments, "--set", f"home={folder}", "--set", f"store.catalogue_url={catalogue.url}"])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def ranked(owners, found):
    """Return ranks in the order of `found` for each owner, with scores 1, 1/2, ..."""
    shape = (len(owners), len(found))
    return Ranked(
        owner_ids=tuple(owners), found_ids=tuple(found), found_index=np.tile(np.arange(len(found)), (len(owners), 1)),
        scores=np.broadcast_to(1 / np.arange(1, len(found) + 1, dtype=np.float32), shape),
    )  # fmt: skip


FOR_ADA = [
    {"user_id": "ada", "rank": 1, "item_id": "cup", "title": "Cup", "score": 1.0, "night_id": 1, "day": "2026-03-01"},
    {"user_id": "ada", "rank": 2, "item_id": "hat", "title": None, "score": 0.5, "night_id": 1, "day": "2026-03-01"},
]


def test_recommendations_of_a_user_in_each_form(tell):
    """JSON and CSV hold every column, the table too; --limit cuts from below."""
    code, out, _ = tell("recommendations", "for", "ada", "--json")
    assert (code, json.loads(out)) == (0, FOR_ADA)
    assert json.loads(tell("recommendations", "for", "ada", "-n", "1", "--json")[1]) == FOR_ADA[:1]
    rows = list(csv.DictReader(io.StringIO(tell("recommendations", "for", "ada", "--csv")[1])))
    assert [(row["item_id"], row["title"], row["score"]) for row in rows] == [("cup", "Cup", "1.0"), ("hat", "", "0.5")]
    header, first, _ = tell("recommendations", "for", "ada")[1].splitlines()
    assert header.split() == list(FOR_ADA[0])
    assert first.split() == ["ada", "1", "cup", "Cup", "1", "1", "2026-03-01"]


def test_who_and_what_is_alike(tell):
    """A user has the neighbours that are not silent, an item those with their titles."""
    (alike,) = json.loads(tell("recommendations", "like-user", "ada", "--json")[1])
    assert alike == {
        "user_id": "ada", "rank": 1, "neighbour_id": "bob", "cosine": 1.0, "night_id": 1, "day": "2026-03-01",
    }  # fmt: skip
    (alike,) = json.loads(tell("recommendations", "like-item", "hat", "--json")[1])
    assert (alike["neighbour_id"], alike["neighbour_title"], alike["cosine"]) == ("cup", "Cup", 1.0)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("for", "bob"), "no recommendation for user 'bob'"),
        (("for", "eve"), "forgotten"),
        (("like-user", "bob"), "no neighbour of user 'bob'"),
        (("like-item", "cup"), "no neighbour of item 'cup'"),
    ],
)
def test_nothing_found_is_told_with_what_it_may_mean(tell, command, says):
    """Somebody without rows is no error; JSON is an empty list, and CSV has its header."""
    code, out, err = tell("recommendations", *command)
    assert (code, says in out, err) == (0, True, "")
    assert json.loads(tell("recommendations", *command, "--json")[1]) == []
    assert tell("recommendations", *command, "--csv")[1].count("\n") == 1


@pytest.mark.parametrize(
    ("command", "says"),
    [("for", "no user 'zoe'"), ("like-user", "no user 'zoe'"), ("like-item", "no item 'zoe'")],
)
def test_whom_nobody_knows_is_one_line(tell, command, says):
    """A misspelt id is exit code 2, not an empty list."""
    code, out, err = tell("recommendations", command, "zoe")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_the_ledger_is_listed_without_names(tell):
    """Newest first, with what was deleted and which day's night solved anew; no id in any form."""
    newest, oldest = json.loads(tell("forgotten", "--json")[1])
    assert newest["removed"] == {
        "preference tables": 3,
        "recommendations": 0,
        "neighbours": 0,
        "conditions": 0,
        "assets' events in SQL": 0,
        "blind choices": 0,
        "refused images": 0,
        "further images": 0,
    }
    assert oldest["removed"] == newest["removed"] | {"neighbours": 1}
    assert (newest["coefficients_day"], newest["statistics_exact"], newest["actor"]) == ("2026-03-01", True, "ops")
    forms = [tell("forgotten", *form)[1] for form in ((), ("--json",), ("--csv",))]
    assert all("asked" in out and not re.search(r"\beve\b", out) for out in forms)
    assert len(list(csv.DictReader(io.StringIO(forms[2])))) == 2


def test_an_empty_ledger_says_so(tell, tmp_path, new_catalogue):
    """Nobody was forgotten: a sentence, an empty list, a header."""
    kept = tmp_path, new_catalogue(tmp_path)
    engine = open_catalogue(kept[1].url)
    upgrade(engine)
    engine.dispose()
    assert tell("forgotten", kept=kept)[:2] == (0, "nobody was forgotten yet\n")
    assert json.loads(tell("forgotten", "--json", kept=kept)[1]) == []
    assert tell("forgotten", "--csv", kept=kept)[1].startswith("forgotten_id,user_key,requested_at,")


@pytest.mark.parametrize("command", [("recommendations", "for", "ada"), ("forgotten",)])
@pytest.mark.sqlite_only
def test_reading_makes_no_home(tell, tmp_path, command):
    """A misspelt home is told, and is not there afterwards."""
    code, out, err = tell(*command, kept=(tmp_path / "none", Catalogue(f"sqlite:///{tmp_path}/none/data/catalogue.db")))
    assert (code, out, "no catalogue" in err) == (2, "", True)
    assert list(tmp_path.iterdir()) == []
