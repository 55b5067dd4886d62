"""The source goes away, the clock goes back, the disk is full: one line says why, and later the night ends."""

import datetime as dt
import resource
import sqlite3
from contextlib import closing

import pytest

from benchmarks.agreement import lasting_rows, left_over
from personalgen.errors import PersonalgenError, SourceError
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(600, func_only=True)


SELDOM = "retrain.min_new_likes=100000"
"""Later nights draw by the model of the first one: what is tried here is long over when a night trains."""


@pytest.fixture(scope="module")
def home(new_home, plain_nightly):
    """A home after its first night, with a source that is no world of ours: nobody writes it again."""
    made = new_home(own_world=True)
    plain_nightly(opened(made))
    return made


def opened(home, *more, **display):
    """Return the workspace of a home that reads its history as a company's database and pictures."""
    source = (f"source.url=sqlite:///{home.world}/history.db", f"source.image_root={home.world}", "source.users=users")
    return home.workspace("world.name=", SELDOM, *source, *more, **display)


def a_day_passes(home):
    """Add the events of a day."""
    add_days(ShapesWorld(128), home.world / "history.db", home.workspace().settings.world.history, active_share=0.3)


def test_a_source_that_is_gone_between_nights(home, plain_nightly):
    """The night is refused and nothing is changed: users keep what they have; with the source back it is done."""
    a_day_passes(home)
    before, gone = home.state(), home.path / "gone"
    home.world.rename(gone)
    with pytest.raises(SourceError, match="Nothing was read"):
        plain_nightly(opened(home))
    assert home.state().catalogue == before.catalogue
    gone.rename(home.world)
    assert not plain_nightly(opened(home))["already_done"]


def test_a_source_that_goes_while_it_is_read(home, plain_nightly):
    """The table of events vanishes once the items are read: no night begins; with it back the night is done."""
    a_day_passes(home)
    before = home.state()

    def rename(old, new):
        with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
            connection.execute(f"alter table {old} rename to {new}")

    def progress(stage, _done, _total, _note=""):
        if stage == "items":
            rename("interactions", "elsewhere")

    with pytest.raises(SourceError, match="has no table 'interactions'"):
        plain_nightly(opened(home, progress=progress))
    assert home.state().catalogue == before.catalogue
    assert left_over(home.path) == []
    rename("elsewhere", "interactions")
    assert not plain_nightly(opened(home))["already_done"]


def test_a_clock_that_was_set_back(home, plain_nightly):
    """No night ends before the one before; events that lie ahead of that clock wait, and follow with the right one."""
    a_day_passes(home)
    night = home.ask("select max(as_of) as as_of from night")[0]["as_of"]
    back = dt.datetime.fromisoformat(night).replace(tzinfo=dt.UTC) - dt.timedelta(hours=2)
    told = plain_nightly(opened(home, now=lambda: back))
    newest = home.ask("select as_of, created_at from night order by night_id desc limit 1")[0]
    assert newest["as_of"] == night > newest["created_at"]
    later = plain_nightly(opened(home))
    assert later["events"] > told["events"]
    assert home.ask("select as_of from night order by night_id") == home.ask("select as_of from night order by as_of")


def test_a_clock_far_behind_the_events_refuses_them(home, plain_nightly):
    """A clock in 1970 makes all events future ones: too many unusable rows, so nothing is changed."""
    before = home.state()
    with pytest.raises(PersonalgenError, match=r"cannot be used.*future.*Nothing was written"):
        plain_nightly(opened(home, now=lambda: dt.datetime(1970, 1, 2, tzinfo=dt.UTC)))
    assert home.state().catalogue == before.catalogue


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["train", "generate"])
def test_a_disk_that_fills_up_in_a_night(first_night, new_home, plain_nightly, stage):
    """No file may grow from a stage on: the night fails, nothing half written stays, and later it ends."""
    home, limits = new_home(), resource.getrlimit(resource.RLIMIT_FSIZE)

    def progress(now, _done, _total, _note=""):
        if now == stage:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    try:
        with pytest.raises((PersonalgenError, OSError)):
            plain_nightly(home.workspace(progress=progress))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left_over(home.path) == []
    told = plain_nightly(home.workspace())
    assert told["promoted"]
    assert lasting_rows(home.state().catalogue) == lasting_rows(first_night.state.catalogue)
    assert (home.path / "mlflow.db").stat().st_size > 4096
