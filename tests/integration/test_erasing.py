"""Who is erased is nowhere in the home any more, wherever the erasing was cut; everybody else's images stay."""

import io
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing

import pyarrow.parquet as pq
import pytest
from PIL import Image

from personalgen.artifacts import sha256_file
from personalgen.catalogue import erasures, placed, read
from personalgen.errors import NotFoundError
from personalgen.generation.shards import FOLDER, Member, pack, read_member, read_sidecar, seal
from personalgen.steps import Decided, finish_erasures, forget, forget_people, generate
from personalgen.steps.erased_ids import KEY_FILE
from personalgen.steps.models import newest_night
from personalgen.steps.night import stage_result

pytestmark = pytest.mark.timeout(180, func_only=True)

PERSON, OTHER = "sim0-00004", "sim0-00007"


@pytest.fixture
def home(restored):
    """A home after a night."""
    return restored


def images_of(workspace, user_id):
    """Return the bytes of a person's images."""
    found = [one for one in placed.placed_assets(workspace.engine, live_only=False) if one.user_id == user_id]
    return [bytes_of(workspace, one) for one in found]


def bytes_of(workspace, one):
    place = {"offset": one.shard_offset, "byte_length": one.byte_length, "crc32": one.crc32}
    return read_member(workspace.shard_root, one.shard_path, **place)


def where_is(home, *needles):
    """Return the files of the home that hold one of these byte strings: as they lie, and in tables cell by cell."""
    found = []
    for path in sorted(path for path in home.path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            content += repr(table.to_pydict()).encode() + repr(table.schema.metadata).encode()
        found += [(needle[:20], str(path)) for needle in needles if needle in content]
    return found


def assert_erased(home, people, images, others):
    """Nothing of these people is left; everybody else's images, digests and sidecars are whole."""
    workspace = home.workspace()
    assert where_is(home, *(user_id.encode() for user_id in people), *images) == []
    left = {one.asset_id: bytes_of(workspace, one) for one in placed.placed_assets(workspace.engine, live_only=False)}
    assert left == others
    for shard in home.ask("select path, sha256, n_assets, byte_length from shard"):
        path = home.path / "data" / shard["path"]
        sidecar = read_sidecar(workspace.shard_root, shard["path"])
        assert sha256_file(path) == shard["sha256"] == sidecar.sha256
        assert (len(sidecar.rows), path.stat().st_size) == (shard["n_assets"], shard["byte_length"])
        with tarfile.open(path) as archive:
            names = [name for name in archive.getnames() if not name.startswith("erased-")]
        assert names == sidecar.rows["member"].to_pylist()
    assert home.ask("select * from erasure") == home.ask("select * from removal") == []
    assert {row["user_id"].partition(":")[0] for row in home.ask('select user_id from "user" where forgotten')} == {
        "erased"
    }


@pytest.fixture
def others(home):
    """The bytes of every image but those of the two people, by id; and theirs."""
    workspace = home.workspace()
    everything = [(one, bytes_of(workspace, one)) for one in placed.placed_assets(workspace.engine, live_only=False)]
    theirs = [data for one, data in everything if one.user_id in (PERSON, OTHER)]
    assert len(theirs) == 2
    return {one.asset_id: data for one, data in everything if one.user_id not in (PERSON, OTHER)}, theirs


def test_nothing_of_a_person_is_left(home):
    """Neither the id nor an image, in any file of the home; before, both were in many."""
    workspace = home.workspace()
    (image,) = images_of(workspace, PERSON)
    everyone = {one.asset_id: one for one in placed.placed_assets(workspace.engine, live_only=False)}
    kept = {key: bytes_of(workspace, one) for key, one in everyone.items() if one.user_id != PERSON}
    assert len(where_is(home, PERSON.encode(), image)) > 5
    (key,) = (row["user_key"] for row in home.ask(f"select user_key from \"user\" where user_id = '{PERSON}'"))
    with workspace.only_night():
        done = forget(workspace, PERSON, reason="asked", actor="test")
    workspace.engine.dispose()
    assert_erased(home, [PERSON], [image], kept)
    assert (done.removed["images"], len(done.receipt.shards), done.receipt.user_key) == (1, 1, key)
    assert home.ask(f'select count(*) as n from "user" where user_key = {key}') == [{"n": 1}]


def test_an_image_that_was_drawn_twice_is_erased_twice(home, cut):
    """Where further images were asked for, first ones lie in a second shard too, in which no asset names them."""
    workspace = home.workspace("generation.variants=2")
    night, embedded = newest_night(workspace)
    for name in ("generate.json", *(path.name for path in night.path.glob("plan-*"))):
        (night.path / name).unlink()
    with workspace.only_night():
        made = generate(workspace, night, embedded, stage_result(night, Decided))
    images = images_of(workspace, PERSON) + images_of(workspace, OTHER)
    assert (made.n_assets, len(images)) == (2 * made.n_users, 4)
    assert len(where_is(home, *images)) == 6
    everyone = placed.placed_assets(workspace.engine, live_only=False)
    others = {one.asset_id: bytes_of(workspace, one) for one in everyone if one.user_id not in (PERSON, OTHER)}
    workspace.engine.dispose()
    cut(home.workspace(), 9, erase)
    again = home.workspace()
    with again.only_night():
        finish_erasures(again)
    again.engine.dispose()
    assert_erased(home, [PERSON, OTHER], images, others)


def test_the_receipt_is_in_the_ledger_and_names_nobody(home):
    """What was removed, what remains and why; the command prints it, and lists it later."""
    told = home.tell("forget", PERSON, "--reason", "asked")
    assert told.code == 0, told.err
    assert "1 images" in told.out
    assert "remains in models" in told.out
    assert PERSON not in told.out
    (line,) = read.forgotten(home.workspace().engine)
    assert line.erased_at is not None
    assert line.receipt["shards"][0] in told.out
    assert len(line.receipt["remains"]) >= 5
    listed = home.tell("forgotten", "--json").out
    assert "remains" in listed
    assert PERSON not in listed


def test_images_of_the_erased_are_no_images(home):
    """Where the image was, the tar has zeros under a name that says so; its neighbours open as images."""
    workspace = home.workspace()
    with workspace.only_night():
        (shard,) = forget(workspace, PERSON, reason="asked", actor="test").receipt.shards
    with tarfile.open(shard) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    blank = [name for name in members if name.startswith("erased-")]
    assert [set(members[name]) for name in blank] == [{0}]
    assert all(Image.open(io.BytesIO(data)) for name, data in members.items() if name not in blank)


def test_a_contact_sheet_with_the_person_goes(home):
    """The id stands in its pixels: sheet and page are removed, and the receipt tells where MLflow has copies."""
    workspace = home.workspace()
    (sheet,) = (home.path / "data" / "reports").glob("*/contact_sheet.png")
    shown = json.loads(sheet.with_suffix(".json").read_text())
    with workspace.only_night():
        receipt = forget(workspace, shown[0], reason="asked", actor="test").receipt
    assert list(sheet.parent.iterdir()) == []
    assert receipt.contact_sheets == (sheet.parent.name,)
    (run,) = (row["mlflow_run_id"] for row in home.ask("select mlflow_run_id from night"))
    assert run in " ".join(receipt.remains)


def test_a_contact_sheet_without_the_person_stays(home):
    """Whom a sheet shows is noted beside it."""
    workspace = home.workspace()
    (sheet,) = (home.path / "data" / "reports").glob("*/contact_sheet.png")
    shown = json.loads(sheet.with_suffix(".json").read_text())
    user = next(row["user_id"] for row in home.ask('select user_id from "user"') if row["user_id"] not in shown)
    with workspace.only_night():
        forget(workspace, user, reason="asked", actor="test")
    assert sheet.is_file()


def test_many_people_are_erased_in_one_go(home, others, monkeypatch):
    """A file of ids; each shard is changed once, each person has a line and a receipt."""
    (home.path / "ids.txt").write_text(f"{PERSON}\n\n{OTHER}\n")
    root_type, changed = type(home.workspace().shard_root), []
    overwrite = root_type.overwrite
    monkeypatch.setattr(root_type, "overwrite", lambda *given: (changed.append(given[1]), overwrite(*given)))
    told = home.tell("forget", "--file", str(home.path / "ids.txt"), "--reason", "asked", "--json")
    assert told.code == 0, told.err
    (home.path / "ids.txt").unlink()
    assert len(changed) == len(set(changed))
    assert [row["n"] for row in home.ask("select count(*) as n from forgotten where receipt is not null")] == [2]
    assert_erased(home, [PERSON, OTHER], others[1], others[0])


def test_one_unknown_id_among_many_changes_nothing(home):
    """All are begun, or none."""
    before = home.state().catalogue["user"]
    with pytest.raises(NotFoundError, match="no user 'nobody'"):
        forget_people(home.workspace(), [PERSON, "nobody"], reason="asked", actor="test")
    assert home.state().catalogue["user"] == before


def test_no_source_brings_the_erased_back(home, plain_nightly):
    """The next night reads the same source, knows the person by the digest alone, and draws nothing for them."""
    workspace = home.workspace()
    with workspace.only_night():
        forget(workspace, PERSON, reason="asked", actor="test")
    with closing(sqlite3.connect(home.world / "history.db")) as connection:
        assert connection.execute("select count(*) from interactions where user_id = ?", (PERSON,)).fetchone()[0] > 0
    plain_nightly(home.workspace("train.max_kimg=0.2"))
    assert where_is(home, PERSON.encode()) == []
    assert len(home.ask('select 1 from "user" where forgotten')) == 1


def test_without_the_key_no_night_reads(home):
    """A lost or other key would let the erased come back unseen: an error that says what to restore."""
    workspace = home.workspace()
    with workspace.only_night():
        forget(workspace, PERSON, reason="asked", actor="test")
    key = home.path / "data" / KEY_FILE
    assert key.stat().st_mode & 0o077 == 0
    kept = key.read_bytes()
    for content, told in ((None, "is missing"), (bytes(32), "is another one")):
        key.unlink() if content is None else key.write_bytes(content)
        for act in ("prepare", "forget sim0-00001 --reason asked"):
            said = home.tell(*act.split())
            assert (said.code, told in said.err) == (2, True)
    key.write_bytes(kept)
    assert home.tell("prepare").code == 0


def test_no_rating_brings_the_erased_back(home, tmp_path):
    """A product's export goes on: what they say, and what is said of their pictures, is left out and counted."""
    (own,) = home.ask(f"select asset_id from v_assets where user_id = '{PERSON}'")
    (other,) = home.ask(f"select asset_id from v_assets where user_id = '{OTHER}'")
    assert home.tell("forget", PERSON, "--reason", "asked").code == 0
    file = tmp_path / "export.csv"
    rows = [(other["asset_id"], PERSON), (other["asset_id"], OTHER), (own["asset_id"], OTHER)]
    file.write_text("asset_id,rating,rater,at\n" + "".join(f"{asset_id},1,{rater},\n" for asset_id, rater in rows))
    told = home.tell("assets", "rate", "--file", str(file))
    assert (told.code, told.out) == (0, "3 ratings read, 1 new or changed\n")
    assert "1 left out: who rated was forgotten" in told.err
    assert "1 left out: the picture is not in the catalogue" in told.err
    assert where_is(home, PERSON.encode()) == []
    assert home.tell("assets", "rate", str(other["asset_id"]), "--rating", "1", "--rater", PERSON).code == 2


def test_who_was_erased_may_be_erased_again(home):
    """From a backup that was put back, say: the id is known by its digest, and there is a second line."""
    for _ in range(2):
        assert home.tell("forget", PERSON, "--reason", "asked").code == 0
    assert len(home.ask("select distinct user_key from forgotten")) == 1
    assert len(home.ask("select 1 from forgotten")) == 2


def test_a_shard_that_the_catalogue_does_not_know_is_looked_into(home):
    """One that names the person is removed with its sidecar; one without rows to read is told of in the receipt."""
    workspace = home.workspace()
    root = workspace.shard_root
    known = next(path for path in root.files(FOLDER) if path.endswith(".tar"))
    rows = read_sidecar(root, known).rows
    (key,) = (row["user_key"] for row in home.ask(f"select user_key from \"user\" where user_id = '{PERSON}'"))
    own = pq.ParquetFile(root.folder / known.replace(".tar", ".parquet")).read().slice(0, 1)
    own = own.set_column(0, "user_key", [[key]]).cast(rows.schema)
    seal(root, f"{FOLDER}/night=000001/999998.tar", pack([Member("a", b"orphan")]), sidecar=own)
    root.put(f"{FOLDER}/night=000001/999999.tar", b"what is this")
    with workspace.only_night():
        done = forget(workspace, PERSON, reason="asked", actor="test")
    assert [path for path in root.files(FOLDER) if "99999" in path] == [f"{FOLDER}/night=000001/999999.tar"]
    assert "999999.tar" in done.receipt.remains[-1]


# --- cut anywhere -----------------------------------------------------------------------------------------------------


def erase(workspace):
    """Erase both people."""
    forget_people(workspace, [PERSON, OTHER], reason="asked", actor="test")


def test_a_cut_anywhere_is_gone_on_with(home, restore, cut, others):
    """Killed at points all over the course, the next run ends as an uninterrupted one; a request is one line."""
    n_calls = cut(home.workspace(), None, erase)
    assert n_calls > 40
    points = sorted(random.Random(n_calls).sample(range(1, n_calls), 14))
    for last in points:
        restore()
        cut(home.workspace(), last, erase)
        workspace = home.workspace()
        if not home.ask('select 1 from "user" where forgotten'):
            assert others[1] == [data for user in (PERSON, OTHER) for data in images_of(workspace, user)]
            continue
        with workspace.only_night():
            finish_erasures(workspace)
        workspace.engine.dispose()
        assert_erased(home, [PERSON, OTHER], others[1], others[0])
        assert len(home.ask("select 1 from forgotten")) == 2


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from personalgen.config import load_settings
from personalgen.steps import Workspace, forget_people

config, moment, *overrides = sys.argv[1:]
left = [int(moment)]

def mortal(call):
    def counted(*given, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **options)
    return counted

os.fsync, os.pwrite, Path.replace = mortal(os.fsync), mortal(os.pwrite), mortal(Path.replace)
workspace = Workspace(load_settings(Path(config), overrides))
with workspace.only_night():
    forget_people(workspace, ["PERSON", "OTHER"], reason="asked", actor="test")
"""


def test_a_killed_process_is_gone_on_with(home, others):
    """SIGKILL, twice on the same home, the second time later: the last run ends what the others began."""
    code = KILLED_AT.replace("PERSON", PERSON).replace("OTHER", OTHER)
    options = home.options()
    for moment in (3, 9):
        command = [sys.executable, "-c", code, options[1], str(moment), *options[3::2]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    workspace = home.workspace()
    finish_erasures(workspace)
    workspace.engine.dispose()
    assert_erased(home, [PERSON, OTHER], others[1], others[0])
    assert erasures.open_erasures(home.workspace().engine) == ()
