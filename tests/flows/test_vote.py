"""A second night's challenger and champion drawn side by side, chosen between, and one of the people forgotten."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personalgen.steps import Embedded, Evaluated, Trained, prepare, prepare_pairs, stage_result
from personalgen.steps.choices import Pairs
from personalgen.steps.data import NightData
from personalgen.steps.night import Night
from personalgen.steps.promote import gate_now
from personalgen.steps.vote import votes_folder
from personalgen.steps.yardstick import draw_held_out

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights run once, while the first test is set up

LONGER = ("train.max_kimg=0.128", "gate.min_votes=8")


@dataclass(frozen=True)
class Asked:
    """A home after its second night's evaluation and the making of pairs, and what the commands told, in order."""

    home: object
    folder: Path
    told: list
    files: dict
    rows: list
    pairs: Pairs
    """As they were before anybody was forgotten."""
    night: Night


@pytest.fixture(scope="module")
def asked(after_first_night, tmp_path_factory):
    """Pairs of a second night, voted on by one who always prefers the challenger, then decided by the gate."""
    home, told = after_first_night(), []
    for stage in ("recommend", "embed", "train", "evaluate"):
        assert home.tell(stage, overrides=LONGER).code == 0
    told.append(home.tell("evaluate", "--vote", "--voter", "vera", overrides=LONGER))
    night = prepare(home.workspace(*LONGER))
    (folder,) = (home.path / "data" / "votes").iterdir()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    pairs = Pairs.load(folder)
    filled = tmp_path_factory.mktemp("table") / "filled.csv"
    with filled.open("w", newline="") as stream:
        rows = [(pair.name, "left" if pair.left == pairs.challenger else "right", "vera") for pair in pairs.pairs]
        csv.writer(stream).writerows([("pair", "choice", "voter"), *rows])
    told += [home.tell("evaluate", "--vote", "--choices", str(filled), overrides=LONGER) for _ in range(2)]
    told.append(home.tell("promote", "--json", overrides=LONGER))
    told.append(home.tell("evaluate", "--vote"))  # of the first night
    return Asked(home, folder, told, files, home.ask("select * from v_comparisons"), pairs, night)


def test_a_night_s_pairs_are_files_that_tell_nothing(asked):
    """A PNG for each held-out person, one page of all, a table to fill in; only the key names people and models."""
    pairs = asked.pairs
    names = {pair.picture for pair in pairs.pairs}
    assert set(asked.files) == names | {"pairs.html", "choices.csv", "key.json"}
    assert len(pairs.pairs) >= 8
    on_the_left = sum(pair.left == pairs.challenger for pair in pairs.pairs)
    assert on_the_left in {len(names) // 2, len(names) - len(names) // 2}
    shown = asked.files["pairs.html"].decode()
    assert shown.count("data:image/png;base64") == len(names)
    assert "Simulated data." in shown
    for text in (shown, asked.files["choices.csv"].decode()):
        assert not any(str(secret) in text for pair in pairs.pairs for secret in (pair.user_id, pair.left, pair.right))
    assert asked.told[0].code == 0
    assert "choices none yet" in " ".join(asked.told[0].out.split())


def test_both_models_draw_what_the_evaluation_draws(asked):
    """Each side of a pair is its model's picture for the person, from the same user, z and operating point."""
    workspace = asked.home.workspace(*LONGER)
    night, pairs = asked.night, asked.pairs
    embedded, trained = stage_result(night, Embedded), stage_result(night, Trained)
    pair = pairs.pairs[0]
    user = np.array([NightData.of(workspace, night).history.user_ids.index(pair.user_id)])
    folders = {pairs.challenger: Path(trained.folder), pairs.before: workspace.model_folder(1)}
    with Image.open(asked.folder / pair.picture) as sheet:
        shown = np.asarray(sheet)
    for digest, x in ((pair.left, 16), (pair.right, 16 + 320 + 16)):
        (drawn,) = draw_held_out(workspace, night, embedded, folders[digest], user, per_user=1)
        assert (shown[-16 - 320 : -16, x : x + 320][::20, ::20] == drawn).all()


def test_pairs_are_made_once(asked):
    """Asking again, with fewer pairs or another voter, changes no file."""
    workspace = asked.home.workspace(*LONGER)
    night = asked.night
    before = {path.name: path.stat().st_mtime_ns for path in asked.folder.iterdir()}
    results = [stage_result(night, kind) for kind in (Embedded, Trained, Evaluated)]
    assert prepare_pairs(workspace, night, *results, n_pairs=3).folder == votes_folder(workspace, night)
    assert {path.name: path.stat().st_mtime_ns for path in asked.folder.iterdir()} == before


def test_choices_reach_the_catalogue_once_and_the_gate(asked):
    """A table read twice is stored once; the command says what the gate would do, and `promote` does it."""
    n = len(asked.rows)
    assert [line.err.split(": ")[-1].strip() for line in asked.told[1:3]] == [
        f"{n} choices, {n} of them new or changed", f"{n} choices, 0 of them new or changed",
    ]  # fmt: skip
    assert {(row["chosen_version"], row["voter"], row["source"]) for row in asked.rows} == {(2, "vera", "terminal")}
    assert "would " in asked.told[1].out
    decided = json.loads(asked.told[3].out)
    assert any(reason.startswith("people prefer the challenger") for reason in decided["reasons"])
    assert f"{n} blind choices" in " ".join(decided["reasons"])


def test_a_table_is_of_its_night_whatever_night_it_is_now(asked, tmp_path):
    """Under settings of another night the pairs are found by their names; a table of no night here is refused."""
    table = tmp_path / "late.csv"
    table.write_text(f"pair,choice,voter\n{asked.pairs.pairs[0].name},tie,late\n")
    told = asked.home.tell("evaluate", "--vote", "--choices", str(table), "--json")
    assert (told.code, json.loads(told.out)["folder"]) == (0, str(asked.folder))
    assert asked.home.ask("select winner, night_id from comparison where voter = 'late'") == [
        {"winner": "tie", "night_id": asked.night.night_id}
    ]
    table.write_text("pair,choice,voter\nfedcba-1,tie,late\n")
    told = asked.home.tell("evaluate", "--vote", "--choices", str(table))
    assert told.code == 2
    assert "starts with pair 'fedcba-1'" in told.err


def test_a_challenger_without_votes_is_told_how_to_get_them(asked):
    """Where the gate asks for more than there are, the words name the command."""
    more = asked.home.workspace(*LONGER[:1], "gate.min_votes=1000")
    night = asked.night
    verdict = gate_now(more, stage_result(night, Evaluated), stage_result(night, Trained).generator_sha256)
    assert not verdict.promote
    assert "personalgen evaluate --vote" in " ".join(verdict.reasons)


def test_a_night_without_a_rival_has_no_pairs(asked):
    """The first night has neither champion nor snapshot: refused with what to do, and nothing is written."""
    assert asked.told[4].code == 2
    assert "tonight there is neither" in asked.told[4].err
    assert len(list((asked.home.path / "data" / "votes").iterdir())) == 1


def test_who_is_forgotten_is_in_no_pair(asked):
    """Picture, page, table, key and catalogue go on without the person; others' pairs keep their names."""
    before = asked.pairs.pairs
    gone = before[-1]
    assert asked.home.tell("forget", gone.user_id, "--reason", "asked").code == 0
    after = Pairs.load(asked.folder)
    assert after.pairs == before[:-1]
    assert not (asked.folder / gone.picture).exists()
    assert (asked.folder / "pairs.html").read_text().count("data:image/png") == len(after.pairs)
    table = (asked.folder / "choices.csv").read_text().splitlines()
    names = [row["pair"] for row in csv.DictReader(table)]
    assert names == [pair.name for pair in after.pairs]
    left = asked.home.ask("select user_id from v_comparisons where voter = 'vera'")
    assert gone.user_id not in {row["user_id"] for row in left}
    assert len(left) == len(after.pairs)
    ledger = asked.home.ask("select removed from forgotten order by forgotten_id desc limit 1")
    assert json.loads(ledger[0]["removed"])["blind pairs"] == 1
