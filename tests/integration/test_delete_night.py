"""A night is deleted whole, or not at all: refused while its images stand for users, gone on with where it was cut."""

import shutil

import pytest

from personalgen.catalogue import deletions
from personalgen.steps import delete_night, repair

pytestmark = pytest.mark.timeout(180, func_only=True)


@pytest.fixture
def home(restored):
    """A home after a night."""
    return restored


@pytest.fixture
def unused(home):
    """A home whose night nobody needs any more, as later nights would leave it."""
    shutil.rmtree(home.path / "data" / "state")
    home.catalogue.change("delete from user_variant", "delete from user_current")
    return home


def assert_gone(home, n_images):
    """Rows and files of the night are gone, its own row and its models stay, and the ledger says it."""
    tables = ("asset", "shard", "quarantine", "comparison", "removal")
    assert [home.ask(f"select * from {table}") for table in tables] == [[]] * len(tables)
    (line,) = home.ask("select night_id, reason, finished_at, removed from night_deletion")
    assert (line["night_id"], line["reason"]) == (1, "too old")
    assert line["finished_at"] is not None
    assert f'"images": {n_images}' in line["removed"]
    assert home.ask("select status from v_runs") == [{"status": "deleted"}]
    assert len(home.ask("select 1 from model_version")) == 1
    data = home.path / "data"
    left = {path.parent.name for path in data.rglob("*") if path.is_file() and ".lock" not in path.name}
    assert left.isdisjoint({"night=000001", *(path.name for path in (data / "nights").glob("*"))})
    assert [list((data / name).rglob("*")) for name in ("nights", "reports", "prepared")] == [[], [], []]


def test_a_night_whose_images_are_seen_stays(home):
    """Which model, how many images, and that nothing was changed."""
    before = home.state()
    shutil.rmtree(home.path / "data" / "state")
    n = len(home.ask("select 1 from user_current"))
    told = home.tell("nights", "delete", "1", "--reason", "too old")
    assert told.code == 2
    assert f"{n:,} current images under personalgen-gan v1 (live)" in told.err
    assert "Nothing was changed" in told.err
    assert home.state().catalogue == before.catalogue


def test_the_night_that_the_next_one_goes_on_from_stays(home):
    """Its tables are what tomorrow is compared with."""
    told = home.tell("nights", "delete", "1", "--reason", "too old")
    assert (told.code, "goes on from it" in told.err) == (2, True)


@pytest.mark.parametrize("night", [7, 1])
def test_a_night_that_is_not_there_is_not_deleted(unused, night):
    """Unknown, or deleted before."""
    if night == 1:
        assert unused.tell("nights", "delete", "1", "--reason", "too old").code == 0
    told = unused.tell("nights", "delete", str(night), "--reason", "too old")
    assert (told.code, "Nothing was changed" in told.err) == (2, True)


def test_rows_and_files_go_with_a_line_in_the_ledger(unused):
    """Shards, rows, results, report and tables; the list of nights says deleted."""
    n_images = len(unused.ask("select 1 from asset"))
    assert unused.tell("assets", "rate", "1", "--rating", "1", "--rater", "wim").code == 0
    told = unused.tell("nights", "delete", "1", "--reason", "too old")
    assert told.code == 0, told.err
    assert f"1 ratings, {n_images} images, 5 shards" in told.out
    assert_gone(unused, n_images)
    assert "deleted" in unused.tell("nights", "list").out
    assert repair(unused.workspace()).is_sound


def test_a_previous_image_in_the_night_does_not_keep_it(home):
    """Where the image before the current one was of the night, there is none before it any more."""
    same = "source, source_digest, config_digest, status, attempts, day, as_of, created_at"
    names = [name for name in home.catalogue.columns("asset") if name != "asset_id"]
    fresh = ", ".join({"night_id": "2", "condition_digest": "7"}.get(name, name) for name in names)
    home.catalogue.change(
        f"insert into night (night_key, {same}) select 'k', {same} from night",
        f"insert into asset ({', '.join(names)}) select {fresh} from asset where variant = 0",
        """
            update user_current set previous_asset_id = asset_id, asset_id = (
                select n.asset_id from asset n join asset o on o.asset_id = user_current.asset_id
                where n.night_id = 2 and n.user_key = o.user_key)
        """,
    )
    shutil.rmtree(home.path / "data" / "state")
    done = delete_night(home.workspace(), 1, reason="too old", actor="test")
    assert done.removed["previous images"] == len(home.ask("select 1 from user_current")) > 0
    assert home.ask("select 1 from user_current where previous_asset_id is not null") == []


def test_a_cut_anywhere_is_gone_on_with_by_repair(unused, restore, cut):
    """At each point: nothing was changed, or the next repair ends it."""
    n_images = len(unused.ask("select 1 from asset"))
    spoilt = unused.path.with_name("spoilt")
    shutil.copytree(unused.path / "data", spoilt, dirs_exist_ok=True)
    put_catalogue_back = unused.catalogue.kept(spoilt)

    def act(workspace):
        delete_night(workspace, 1, reason="too old", actor="test")

    n_calls = cut(unused.workspace(), None, act)
    assert n_calls > 15
    for last in range(1, n_calls + 1, 2):
        shutil.rmtree(unused.path / "data")
        shutil.copytree(spoilt, unused.path / "data")
        put_catalogue_back()
        cut(unused.workspace(), last, act)
        workspace = unused.workspace()
        if deletions.night_deletions(workspace.engine):
            repair(workspace)
            assert_gone(unused, n_images)
        else:
            assert len(unused.ask("select 1 from asset")) == n_images
        workspace.engine.dispose()


def test_a_deleted_night_may_be_run_again(unused, plain_nightly):
    """The same night is made anew, under its id, with the same images."""
    before = {row["member"]: row["crc32"] for row in unused.ask("select member, crc32 from asset")}
    delete_night(unused.workspace(), 1, reason="too old", actor="test")
    plain_nightly(unused.workspace())
    assert {row["member"]: row["crc32"] for row in unused.ask("select member, crc32 from asset")} == before
    assert unused.ask("select night_id, status from night") == [{"night_id": 1, "status": "done"}]
