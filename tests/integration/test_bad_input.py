"""Bad sources and bad settings, given to the command line: one clear line, exit code 2, and nothing half-written."""

import csv
import socket
import sqlite3
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from personalgen.cli import main

N_ITEMS, N_EVENTS = 12, 40


@pytest.fixture
def folder(tmp_path):
    """A small source that is as it should be."""
    made = tmp_path / "source"
    (made / "images").mkdir(parents=True)
    for k in range(N_ITEMS):
        Image.new("RGB", (16, 16), (20 * k, 100, 200)).save(made / "images" / f"{k}.png")
    write_csv(made / "items.csv", [{"item_id": f"i{k}", "image": f"images/{k}.png"} for k in range(N_ITEMS)])
    write_csv(made / "interactions.csv", events())
    return made


@pytest.fixture
def prepare(tmp_path, folder, capsys):
    """Return a function that runs `personalgen prepare` on the source and returns exit code and stderr."""

    def run(*overrides, arguments=()):
        pairs = (f"home={tmp_path / 'home'}", f"source.path={folder}", "model.resolution=16", *overrides)
        code = main(["prepare", *arguments, *(part for pair in pairs for part in ("--set", pair))])
        return code, capsys.readouterr().err

    return run


def events(**replaced):
    """Return good events as dicts; `replaced` columns get one value in every row."""
    return [
        {"user_id": f"u{k % 5}", "item_id": f"i{k % N_ITEMS}", "timestamp": 1_600_000_000 + 60 * k, **replaced}
        for k in range(N_EVENTS)
    ]


def write_csv(path, rows, columns=None):
    """Write dicts as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(folder, rows):
    """Put a Parquet file in the place of interactions.csv."""
    (folder / "interactions.csv").unlink()
    pq.write_table(pa.Table.from_pylist(rows), folder / "interactions.parquet")


def refused(told, home, *words):
    """Check that a command was refused in one line with these words, and that its home holds no result of it."""
    code, err = told
    assert (code, err.count("\n"), err.startswith("personalgen: ")) == (2, 1, True), err
    for word in words:
        assert word in err
    assert "Nothing was" in err
    prepared = home / "data" / "prepared"
    assert not prepared.exists() or list(prepared.iterdir()) == []
    assert not (home / "data" / "nights").exists()
    assert not (home / "mlflow.db").exists()
    assert not (home / "data" / "catalogue.db").exists()


# --- sources ----------------------------------------------------------------------------------------------------------


def drop_column(folder):
    """Leave the times out."""
    kept = [{name: row[name] for name in ("user_id", "item_id")} for row in events()]
    write_csv(folder / "interactions.csv", kept)


def rename_column(folder):
    """Call the times by a name that is nearly right."""
    write_csv(
        folder / "interactions.csv",
        [{"user_id": row["user_id"], "item_id": row["item_id"], "timestmp": row["timestamp"]} for row in events()],
    )


def cut_images(folder):
    """Cut every picture short."""
    for path in (folder / "images").iterdir():
        path.write_bytes(path.read_bytes()[:40])


SOURCES = {
    "missing column": (drop_column, ["lacks 1 column", "'timestamp'"]),
    "misspelt column": (rename_column, ["'timestamp' (nearest: 'timestmp')", "source.columns.interactions"]),
    "text for a time": (
        lambda folder: write_csv(folder / "interactions.csv", events(timestamp="yesterday")),
        ["bad_timestamp 40", "'yesterday'", "the limit is 5.0%"],
    ),
    "floats for users": (lambda folder: write_parquet(folder, events(user_id=1.5)), ["bad_user_id 40"]),
    "booleans for items": (lambda folder: write_parquet(folder, events(item_id=True)), ["bad_item_id 40"]),
    "empty interactions": (
        lambda folder: write_csv(folder / "interactions.csv", [], ["user_id", "item_id", "timestamp"]),
        ["interactions table", "is empty"],
    ),
    "empty items": (
        lambda folder: write_csv(folder / "items.csv", [], ["item_id", "image"]),
        ["items table", "is empty"],
    ),
    "empty file": (lambda folder: (folder / "items.csv").write_bytes(b""), ["items.csv cannot be read as CSV"]),
    "no interactions": (lambda folder: (folder / "interactions.csv").unlink(), ["has no table 'interactions'"]),
    "no Parquet in .parquet": (
        lambda folder: (folder / "items.csv").rename(folder / "items.parquet"),
        ["items.parquet cannot be read as Parquet"],
    ),
    "every picture cut": (cut_images, ["image_truncated 12"]),
    "only events in the future": (
        lambda folder: write_csv(folder / "interactions.csv", events(timestamp=4_000_000_000)),
        ["future 40"],
    ),
    "too many unknown items": (
        lambda folder: write_csv(folder / "interactions.csv", [*events(), *events(item_id="i99")[:3]]),
        ["3 of 43 rows of interactions (7.0%) cannot be used", "unknown_item 3", "limits.max_quarantine_share"],
    ),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_bad_source_is_refused_in_one_line(prepare, folder, tmp_path, case):
    """The line says what was expected, what was found and where; no night, no prepared folder, no store is left."""
    spoil, words = SOURCES[case]
    spoil(folder)
    refused(prepare(), tmp_path / "home", *words)


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["source.path=/nowhere/at/all"], "/nowhere/at/all, which is not a folder"),
        (["source.image_root=pictures"], "source.image_root is"),
        (["source.path="], "exactly one of path and url, found neither"),
        (["source.url=sqlite:///x.db", "source.image_root=."], "exactly one of path and url, found both"),
        (["source.interactions=interaction"], "nearest: 'interactions.csv'"),
        (["source.columns.items.title=name"], "'name'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_source_that_is_named_wrongly_is_refused(prepare, tmp_path, overrides, word):
    """A folder, table or column that is not there is an error that names it."""
    refused(prepare(*overrides), tmp_path / "home", word)


def closed_port():
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite:////nowhere/history.db", "/nowhere/history.db"),
        ("oracle9://me:s3cret@host/x", "oracle9"),
        ("not a url", "url"),
        ("postgresql+psycopg://me:s3cret@127.0.0.1:{port}/x", "127.0.0.1"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(prepare, folder, tmp_path, url, word):
    """A database that is not there, cannot be reached or is of no known kind is named, its password is not."""
    told = prepare("source.path=", f"source.url={url.format(port=closed_port())}", f"source.image_root={folder}")
    refused(told, tmp_path / "home", word)
    assert "s3cret" not in told[1]


def test_a_database_without_the_tables_is_refused(prepare, folder, tmp_path):
    """A URL that works, to a database that holds something else, is told by what it holds."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("create table interaction(x)")
    told = prepare("source.path=", f"source.url=sqlite:///{tmp_path}/other.db", f"source.image_root={folder}")
    refused(told, tmp_path / "home", "'interactions'", "interaction")


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        ("[train]\nbatchsize = 8\n", "train.batchsize is not a setting (did you mean train.batch_size?)"),
        ("[trian]\nbatch_size = 8\n", "trian is not a setting (did you mean train?)"),
        ("[world.history]\nusers = 8\n", "world.history.users is not a setting"),
        ("max_kimg = 8\n", "did you mean train.max_kimg?"),
        ("[train\n", "is not valid TOML"),
        ("[train]\nbatch_size = 'many'\n", "train.batch_size"),
        ("[generation]\nvariants = 0\n", "generation: variants must be at least 1, found 0"),
        ("train = 3\n", "train is a section"),
    ],
)
def test_a_wrong_config_file_is_refused(prepare, tmp_path, toml, word):
    """A key that does not exist is answered with the nearest that does, a wrong value with what was found."""
    (tmp_path / "mine.toml").write_text(toml)
    refused(prepare(arguments=("--config", str(tmp_path / "mine.toml"))), tmp_path / "home", word)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("train.max_kmig=1", "did you mean train.max_kimg?"),
        ("generation.minshift=1", "did you mean generation.min_shift?"),
        ("train.max_kimg", "not of the form key=value"),
        ("train.max_kimg=much", "train.max_kimg"),
        ("home.x=1", "home"),
        ("gate.min_gain=nan", "gate: min_gain must be a number, found nan"),
        ("split.later_share=2", "split: later_share must be above 0 and below 1, found 2.0"),
        ("model.z_dim=0", "model: z_dim must be at least 1, found 0"),
        ("train.batch_size=30", "multiple of model.group_size"),
        ("store.time_zone=Mars", "IANA name"),
        ("world.name=mars", "world: name must be one of"),
        ("generation.encoder=jpeg", "generation: encoder must be one of"),
    ],
)
def test_a_wrong_override_is_refused(prepare, tmp_path, override, word):
    """--set is checked like the file."""
    refused(prepare(override), tmp_path / "home", word)


def test_a_wrong_variable_is_refused(prepare, tmp_path, monkeypatch):
    """A misspelt PERSONALGEN_ variable is an error, not silence."""
    monkeypatch.setenv("PERSONALGEN_TRAIN__MAX_KMIG", "1")
    refused(prepare(), tmp_path / "home", "did you mean train.max_kimg?")


def test_all_wrong_keys_are_told_at_once(prepare, tmp_path):
    """One message names every fault."""
    refused(prepare("train.max_kmig=1", "modle.width=3"), tmp_path / "home", "train.max_kimg", "model?")


def test_a_config_file_that_is_not_there_is_refused(prepare, tmp_path):
    """The path is named."""
    refused(prepare(arguments=("--config", str(tmp_path / "no.toml"))), tmp_path / "home", "no.toml does not exist")


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "1790000000", ""])
def test_a_wrong_instant_is_refused(prepare, tmp_path, text):
    """--as-of takes ISO 8601 and nothing else."""
    refused(prepare(arguments=("--as-of", text)), tmp_path / "home", "--as-of", "ISO 8601")


def test_an_instant_before_every_event_is_refused(prepare, tmp_path):
    """A night that could read nothing says so."""
    refused(prepare(arguments=("--as-of", "2001-01-01")), tmp_path / "home", "All 40 interactions", "later as_of")


# --- on a home that has results ---------------------------------------------------------------------------------------


@pytest.mark.timeout(110, func_only=True)
@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("limits.max_quarantine_share=0", "the limit is 0.0%"),
        ("source.columns.interactions.user_id=who", "lacks 1 column: 'who'"),
        ("limits.max_image_pixels=100", "image_too_large"),
        ("source.name=another", "one home serves one source"),
    ],
)
def test_a_refused_night_changes_nothing_of_earlier_ones(first_night, override, word):
    """Too many bad rows, or a column that is gone, leave every row and file of a home as they were."""
    before = first_night.home.state()
    told = first_night.home.tell("prepare", overrides=[override])
    assert (told.code, word in told.err) == (2, True)
    assert first_night.home.state() == before
