"""The command line on a home that has had a night: what was made for whom, which model is live, and single stages."""

import csv
import io
import json

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from PIL import Image

from personalgen.conditions import ConditionSpec
from personalgen.models import TensorGenerator, load_generator
from personalgen.steps.night import STAGES

# The nights themselves run once, while a test is set up; others may have followed the first in the same home.
pytestmark = pytest.mark.timeout(110, func_only=True)

STAGE_COMMANDS = ("prepare", "embed", "train", "evaluate", "promote", "generate", "score")


@pytest.fixture(scope="module")
def home(first_night):
    return first_night.home


def as_json(told):
    """Return what a command printed as JSON."""
    assert told.code == 0, told.err
    return json.loads(told.out)


def as_csv(told):
    """Return what a command printed as CSV."""
    assert told.code == 0, told.err
    return list(csv.DictReader(io.StringIO(told.out)))


# --- assets -----------------------------------------------------------------------------------------------------------


def test_latest_lists_the_newest_assets(home):
    """The newest come first, as many as were asked for; --before gives the next page."""
    everything = [row["asset_id"] for row in home.ask("select asset_id from asset order by asset_id desc")]
    first = as_json(home.tell("assets", "latest", "--limit", "3", "--json"))
    second = as_json(home.tell("assets", "latest", "-n", "3", "--before", str(first[-1]["asset_id"]), "--json"))
    assert [row["asset_id"] for row in first + second] == everything[:6]


def test_latest_of_one_user(home):
    """--user lists that user's assets alone."""
    rows = as_json(home.tell("assets", "latest", "--user", "sim0-00007", "--json"))
    assert {row["user_id"] for row in rows} == {"sim0-00007"}
    assert len(rows) == len(home.ask("select 1 from v_assets where user_id = 'sim0-00007'"))


def test_json_and_csv_say_the_same(home):
    """Both forms hold every column of the view; a terminal gets a short table."""
    rows = as_json(home.tell("assets", "latest", "--json"))
    table = as_csv(home.tell("assets", "latest", "--csv"))
    assert [int(row["asset_id"]) for row in table] == [row["asset_id"] for row in rows]
    assert set(table[0]) == set(rows[0]) == set(home.ask("select * from v_assets limit 1")[0])
    assert json.loads(table[0]["top_events"]) == rows[0]["top_events"]
    short = home.tell("assets", "latest").out.splitlines()
    assert short[0].split()[:3] == ["asset_id", "user_id", "day"]
    assert len(short) == len(rows) + 1


def test_show_tells_where_an_image_comes_from(home, tmp_path):
    """One asset's lineage names model, run, seed and events with their titles; --save writes the picture."""
    facts = as_json(home.tell("assets", "show", "1", "--json", "--save", str(tmp_path / "one.png")))[0]
    (row,) = home.ask("select * from v_assets where asset_id = 1")
    assert {name: facts[name] for name in ("user_id", "seed", "model_version", "path")} == {
        name: row[name] for name in ("user_id", "seed", "model_version", "path")
    }
    assert facts["training_run_id"]
    assert facts["training_run_id"] != facts["mlflow_run_id"]
    titles = {row["item_id"]: row["title"] for row in home.ask("select item_id, title from item")}
    assert facts["top_events"]
    assert all(event["title"] == titles[event["item_id"]] for event in facts["top_events"])
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size == (16, 16)


def test_show_speaks_to_people_too(home):
    """Without --json the lineage is lines, the events with their share."""
    out = home.tell("assets", "show", "1").out
    assert "events that weighed most" in out
    assert "%" in out


def test_show_of_an_asset_that_is_not_there(home):
    """The exit code is 2 and the line names the asset."""
    told = home.tell("assets", "show", "999999")
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert "999999" in told.err


def test_sql_answers_questions(home):
    """A SELECT is answered as JSON, CSV or a table."""
    question = "SELECT user_id, count(*) AS images FROM v_assets GROUP BY 1 ORDER BY 1"
    expected = home.ask(question)
    assert as_json(home.tell("assets", "sql", question, "--json")) == expected
    assert as_csv(home.tell("assets", "sql", question, "--csv")) == [
        {name: str(value) for name, value in row.items()} for row in expected
    ]
    assert len(home.tell("assets", "sql", question).out.splitlines()) == len(expected) + 1


def test_sql_keeps_columns_of_equal_name_apart(home):
    """The second of two equal names gets its place as a suffix; no value is lost."""
    assert as_json(home.tell("assets", "sql", "SELECT 1 AS a, 2 AS b, 3 AS a", "--json")) == [
        {"a": 1, "b": 2, "a_3": 3}
    ]


def test_sql_says_where_it_was_cut(home):
    """More rows than --limit are cut, and a note says so."""
    told = home.tell("assets", "sql", "SELECT asset_id FROM v_assets", "--limit", "5", "--json")
    assert len(as_json(told)) == 5
    assert "cut at 5 rows" in told.err


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM asset",
        "UPDATE live_release SET model_version_id = 0",
        "DROP TABLE asset",
        "SELECT 1; DELETE FROM asset",
        "PRAGMA user_version = 7",
        "SELECT nothing FROM nowhere",
    ],
)
def test_sql_that_is_no_question_is_refused(home, statement):
    """Whatever would write, or cannot be read, is exit code 2, and no row changes."""
    before = home.state()
    told = home.tell("assets", "sql", statement)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("personalgen: ")
    assert home.state() == before


def test_export_writes_pictures_and_their_table(home, tmp_path):
    """OUT/assets.parquet has a row for each image that users see; every file opens with Pillow."""
    told = home.tell("assets", "export", str(tmp_path / "out"))
    table = pd.read_parquet(tmp_path / "out" / "assets.parquet")
    assert list(table.columns[:6]) == ["asset_id", "user_id", "path", "model_version", "seed", "score"]
    live = home.ask("select asset_id, user_id, model_version, seed from v_assets where is_live order by asset_id")
    assert table.sort_values("asset_id")[["asset_id", "user_id", "model_version", "seed"]].to_dict("records") == live
    for path in table["path"]:
        with Image.open(tmp_path / "out" / path) as picture:
            picture.load()
            assert (picture.size, picture.mode) == ((16, 16), "RGB")
    assert f"{len(table):,} images" in told.out


def test_export_to_a_file_is_refused(home, tmp_path):
    """A file in the place of the folder is left alone."""
    (tmp_path / "out").write_text("mine")
    assert home.tell("assets", "export", str(tmp_path / "out")).code == 2
    assert (tmp_path / "out").read_text() == "mine"


# --- models -----------------------------------------------------------------------------------------------------------


def test_models_lists_versions_and_what_is_live(home):
    """One row per version, newest first; the live one is marked."""
    rows = as_json(home.tell("models", "list", "--json"))
    known = home.ask("select version from model_version order by version desc")
    (live,) = home.ask("select version from live_release join model_version using (model_version_id)")
    assert [row["version"] for row in rows] == [row["version"] for row in known]
    assert [row["version"] for row in rows if row["live"]] == [live["version"]]
    assert [row["version"] for row in rows if row["alias"] == "champion"] == [live["version"]]
    assert [row["version"] for row in as_csv(home.tell("models", "list", "--csv"))] == [
        str(row["version"]) for row in rows
    ]


def test_history_tells_every_decision(home):
    """Each promotion, hold and rollback is a row with actor and reason, newest first."""
    rows = as_json(home.tell("models", "history", "--json"))
    assert len(rows) == len(home.ask("select 1 from model_promotion"))
    assert (rows[-1]["action"], rows[-1]["to_version"], rows[-1]["actor"]) == ("promote", 1, "gate")
    assert "absolute thresholds" in rows[-1]["reason"]
    assert len(as_csv(home.tell("models", "history", "--csv"))) == len(rows)


def test_a_version_becomes_an_onnx_file_that_draws_its_pictures(home, tmp_path):
    """One file with a free batch size, for people with a preference and without; its metadata name where it is from."""
    out = tmp_path / "served" / "v1.onnx"
    told = home.tell("models", "export", "1", str(out))
    assert told.code == 0, told.err
    assert "preference_present" in told.out
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    generator, card = load_generator(home.workspace().registry.fetch(1))
    assert (facts["version"], facts["generator_sha256"]) == ("1", card.generator_sha256)
    assert ConditionSpec.from_dict(json.loads(facts["condition_spec"])) == card.spec
    plain = TensorGenerator(generator)
    for n_rows in (1, 7):
        given = plain.example_inputs(n_rows, seed=n_rows)
        named = {name: value.numpy() for name, value in zip(plain.input_names, given, strict=True)}
        with torch.inference_mode():
            np.testing.assert_allclose(session.run(None, named)[0], plain(*given).numpy(), atol=1e-4)
    assert [path.name for path in out.parent.iterdir()] == ["v1.onnx"]


@pytest.mark.parametrize("place", [".", "file/v1.onnx"], ids=["folder", "below a file"])
def test_an_onnx_file_needs_a_place(home, tmp_path, place):
    """A folder is no file, and a file no folder; what is there stays."""
    (tmp_path / "file").write_text("mine")
    told = home.tell("models", "export", "1", str(tmp_path / place))
    assert told.code == 2
    assert "must be the name of a file in a folder" in told.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_version_that_is_not_there_is_not_exported(home, tmp_path):
    """The number is named and nothing is written."""
    told = home.tell("models", "export", "99", str(tmp_path / "v.onnx"))
    assert told.code != 0
    assert "no version 99" in told.err
    assert list(tmp_path.iterdir()) == []


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong(home):
    """On a home that works every finding is ok, and nothing is changed."""
    before = home.state()
    found = json.loads(home.tell("doctor", "--json").out)
    assert {"python", "torch", "device", "home", "catalogue", "tracking", "source"} <= {row["what"] for row in found}
    assert [row for row in found if row["state"] == "wrong" and row["what"] != "free disk"] == []
    assert home.state() == before


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("snapshot=nowhere", "snapshot"),
        ("train.device=cuda:99", "device"),
        ("store.catalogue_url=postgresql+psycopg://x@127.0.0.1:1/x", "catalogue"),
        ("world.name=", "source"),
        ("world.history.seed=5", "source"),
        ("store.tracking_uri=sqlite:///pyproject.toml", "tracking"),
    ],
)
def test_doctor_says_what_is_wrong(home, override, what):
    """A finding that would stop a night is exit code 1, with what to do about it."""
    told = home.tell("doctor", "--json", overrides=[override])
    assert told.code == 1
    assert [row["what"] for row in json.loads(told.out) if row["state"] == "wrong" and row["what"] != "free disk"] == [
        what
    ]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (("source.path", "nowhere"), "nowhere"),
        (("source.url", "postgresql+psycopg://reader:secret@127.0.0.1:1/x"), "127.0.0.1"),
    ],
)
def test_doctor_opens_the_source(new_home, setting, says):
    """A real source is opened, and its tables and columns are looked for; a password is never shown."""
    real = ["world.name=", "source.image_root=.", "=".join(setting)]
    told = new_home().tell("doctor", "--json", overrides=real)
    (wrong,) = [row for row in json.loads(told.out) if row["what"] == "source"]
    assert (told.code, wrong["state"]) == (1, "wrong")
    assert says in wrong["found"]
    assert "secret" not in told.out


def test_doctor_tells_what_is_wrong_in_full(home):
    """The table cuts long cells; what must be mended is told below it, whole."""
    out = home.tell("doctor", overrides=["world.history.seed=5"]).out
    assert "source: " in out
    assert "Delete it with its images/, or choose another folder" in out


def test_doctor_names_the_columns_that_are_read(home):
    """What a night would read of each table."""
    found = {row["what"]: row["found"] for row in json.loads(home.tell("doctor", "--json").out)}
    assert found["interactions"] == "user_id, item_id, timestamp, weight, event"
    assert found["items"] == "item_id, image, title, category, colour"
    assert found["users"] == "user_id, segment, created_at, opted_out"


def test_doctor_makes_nothing(new_home):
    """Asked about a home that is not there yet, it makes none."""
    home = new_home(bare=True)
    home.path.rmdir()
    assert "python" in home.tell("doctor").out
    assert not home.path.exists()


@pytest.mark.parametrize(
    "command",
    [
        ("assets", "latest"),
        ("assets", "show", "1"),
        ("assets", "export", "out"),
        ("assets", "sql", "SELECT 1"),
        ("models", "list"),
        ("models", "history"),
        ("recommendations", "for", "ada"),
        ("recommendations", "like-user", "ada"),
        ("recommendations", "like-item", "cup"),
        ("forgotten",),
        ("models", "rollback", "--reason", "x"),
        ("models", "promote", "1", "--reason", "x"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_that_reads_makes_no_home(new_home, command):
    """A misspelt home is told, and is not there afterwards."""
    home = new_home(bare=True)
    home.path.rmdir()
    told = home.tell(*command)
    of_a_role = command[:2] == ("assets", "sql") and not home.catalogue.is_sqlite  # it sees views alone, and none yet
    assert (told.code, ("no night has run" if of_a_role else "no catalogue") in told.err) == (2, True)
    assert not home.path.exists()


def test_a_path_that_cannot_be_written_is_one_line(home, tmp_path):
    """The system's own words, no trace, and exit code 1."""
    told = home.tell("assets", "show", "1", "--save", str(tmp_path / "missing" / "a.png"))
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "missing/a.png" in told.err


def test_a_question_without_rows_has_a_header_in_csv(home):
    """A program that reads the CSV finds its columns."""
    statement = "SELECT asset_id, user_id FROM v_assets WHERE asset_id < 0"
    assert home.tell("assets", "sql", statement, "--csv").out == "asset_id,user_id\n"


@pytest.mark.parametrize("question", ["latest", "top", "changed", "similar"])
def test_an_unknown_user_is_refused(home, question):
    """Whom the catalogue does not know has no empty list, whatever is asked of them."""
    told = home.tell("assets", question, "--user", "nobody")
    assert (told.code, told.out) == (2, "")
    assert "There is no user 'nobody' in the catalogue" in told.err


# --- before there is anything -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("assets", "latest"), "no asset yet"),
        (("models", "list"), "no model version yet"),
        (("models", "history"), "no decision yet"),
        (("assets", "sql", "SELECT asset_id FROM v_assets"), "no row"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_empty_home_says_so(stepwise, command, says):
    """Lists on a home without a finished night are empty, not errors."""
    assert says in stepwise.empty[command].out
    assert stepwise.empty[command].code == 0


# --- single stages ----------------------------------------------------------------------------------------------------


class Stepwise:
    """A home on which the stages were called one by one: what they told before their turn, in turn, and again."""

    def __init__(self, home):
        self.home = home
        self.early = {name: home.tell(name) for name in STAGE_COMMANDS[2:]}
        commands = [("assets", "latest"), ("models", "list"), ("models", "history")]
        self.empty = {tuple(words): home.tell(*words) for words in commands}
        question = ("assets", "sql", "SELECT asset_id FROM v_assets")
        self.empty[question] = home.tell(*question)
        self.told = {name: home.tell(name, "--json") for name in STAGE_COMMANDS}
        self.again = {name: home.tell(name, "--json") for name in STAGE_COMMANDS}


@pytest.fixture(scope="module")
def stepwise(new_home):
    return Stepwise(new_home())


@pytest.mark.parametrize(
    ("command", "lacking"),
    [("train", "embed"), ("evaluate", "embed"), ("promote", "evaluate"), ("generate", "embed")],
)
def test_a_stage_before_its_turn_is_refused(stepwise, command, lacking):
    """A stage whose input is not there names the stage to run first, in one line with exit code 2."""
    told = stepwise.early[command]
    (line,) = [line for line in told.err.splitlines() if line.startswith("personalgen: ")]  # others: progress when slow
    assert (told.code, told.out, told.err.endswith(f"{line}\n")) == (2, "", True)
    assert f"personalgen {lacking}`" in line


@pytest.mark.parametrize("command", STAGE_COMMANDS)
def test_a_stage_called_alone_tells_its_result(stepwise, command):
    """Each stage's result is JSON, and calling it again gives the same."""
    assert as_json(stepwise.told[command])
    assert as_json(stepwise.again[command]) == as_json(stepwise.told[command])


def test_stages_one_by_one_make_the_same_night(stepwise, first_night):
    """The single commands end where `nightly` ends: the same images for the same users, released and reported."""
    query = "select user_key, generator_digest, condition_digest, variant, crc32, seed from asset order by user_key"
    made = [
        {name: row[name] for name in ("user_key", "generator_digest", "condition_digest", "variant", "crc32", "seed")}
        for row in sorted(first_night.state.catalogue["asset"], key=lambda row: row["user_key"])
    ]
    assert stepwise.home.ask(query) == made
    assert stepwise.home.ask("select status from night") == [{"status": "done"}]
    assert stepwise.home.ask("select action from model_promotion") == [{"action": "promote"}]
    done = {path.stem for path in (stepwise.home.path / "data" / "nights").glob("*/*.json")}
    assert set(STAGES) <= done


def test_a_training_in_slices_registers_nothing_before_its_end(new_home):
    """Minutes or images end the command with what is left to do; the same command again goes on from there."""
    home = new_home()
    for command in ("prepare", "embed"):
        home.tell(command)
    slices = [home.tell("train", *flags) for flags in (("--max-minutes", "1e-7"), ("--max-kimg", "0.03"))]
    assert [(told.code, told.out) for told in slices] == [(75, "")] * 2
    for told, seen in zip(slices, (16, 48), strict=True):
        assert f"ended after {seen} of 64 images" in told.err
        assert "run the same command again to go on, without --max-minutes and --max-kimg to go on to" in told.err
    assert "train.max_minutes = 1e-07" in slices[0].err
    assert "train.slice_kimg = 0.03" in slices[1].err
    assert not list(home.path.glob("data/nights/*/train.json"))
    assert not list(home.path.glob("data/nights/*/train/model"))
    assert home.tell("train", "--max-minutes", "-1").code == 2
    seen = as_json(home.tell("train", "--json"))
    assert seen["kimg"] == pytest.approx(0.064)
