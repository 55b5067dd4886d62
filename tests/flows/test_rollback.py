"""The way back after many nights: those of a first model, a re-base, those of the next one, and back again."""

import importlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from flows.nightly import nightly
from personalgen.registry.promotion import Verdict
from personalgen.steps import Embedded, prune, repair, stage_result
from personalgen.steps.assets import image_bytes
from personalgen.steps.models import newest_night, roll_back
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights themselves run once, while a test is set up

HELD, EPOCH = "gate.min_users=1000000", "embeddings.epoch_days=2"
SEEN = "select user_id, live_asset_id from v_users where live_asset_id is not null"


def pass_a_day(home, days=1):
    """Add simulated events of half of the people."""
    history = home.workspace().settings.world.history
    add_days(ShapesWorld(128), home.world / "history.db", history, active_share=0.5, days=days)


def seen(home):
    """Return what each person sees."""
    return {row["user_id"]: row["live_asset_id"] for row in home.ask(SEEN)}


def go_back(home, to=None):
    """Move what is live back."""
    return roll_back(home.workspace(EPOCH), to, reason="users complained", actor="tester")


@pytest.fixture(scope="module")
def nights(after_first_night, plainly):
    """Two nights of a first model, one that promotes a re-based one, two nights of that, and the way back."""
    home = after_first_night()
    pass_a_day(home)
    plainly(nightly, home.workspace(EPOCH, HELD))
    of_first = seen(home)
    pass_a_day(home, days=3)
    with pytest.MonkeyPatch.context() as patch:
        verdict = Verdict(promote=True, reasons=("a test said so",))
        patch.setattr(importlib.import_module("personalgen.steps.promote"), "gate", lambda *_: verdict)
        plainly(nightly, home.workspace(EPOCH))
    promoting = newest_night(home.workspace(EPOCH))[0]
    for _ in range(2):
        pass_a_day(home)
        plainly(nightly, home.workspace(EPOCH, HELD))
    of_second, assets = seen(home), home.ask("select count(*) as n from asset")
    moved = go_back(home)
    return SimpleNamespace(
        home=home, promoting=promoting, of_first=of_first, of_second=of_second, assets=assets, moved=moved,
        after=seen(home), after_assets=home.ask("select count(*) as n from asset"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def later(nights, plainly):
    """The next night after the way back, and the way forward again."""
    home = nights.home
    pass_a_day(home)
    told = plainly(nightly, home.workspace(EPOCH, HELD))
    of_first = seen(home)
    moved = go_back(home, to=3)
    return SimpleNamespace(told=told, of_first=of_first, moved=moved, of_second=seen(home))


def test_the_promoting_night_left_the_basis_of_the_first_model(nights):
    """Otherwise this would be no way back across a re-base."""
    embedded = stage_result(nights.promoting, Embedded)
    assert embedded.is_new_basis
    assert embedded.live_basis != embedded.train_basis
    assert nights.of_first.keys() <= nights.of_second.keys()
    assert not set(nights.of_first.values()) & set(nights.of_second.values())


def test_everybody_sees_the_image_that_the_first_model_gave_them_last(nights):
    """Whoever had an image of it has that very one again, and nothing was made."""
    assert nights.after == nights.of_first
    assert (nights.moved.live_version, nights.moved.before, nights.moved.n_assets) == (1, 3, 0)
    assert nights.moved.n_without == len(nights.of_second) - len(nights.of_first)
    assert nights.after_assets == nights.assets


def test_the_night_after_a_rollback_draws_by_the_model_that_is_back(nights, later):
    """In its own old basis: whoever changed sees another image of it, and the others keep theirs."""
    assert later.told["live_version"] == 1
    assert later.told["users_changed"] > 0
    kept = [user for user, image in nights.of_first.items() if later.of_first[user] == image]
    assert len(kept) == later.told["users_unchanged"] > 0
    own = nights.home.ask(f"select model_version from v_assets where asset_id in {tuple(later.of_first.values())}")
    assert {row["model_version"] for row in own} == {1}


def test_the_way_forward_again_shows_what_was_there(nights, later):
    """A rollback can be rolled back: the second model's last images, as they stood."""
    assert later.moved.live_version == 3
    assert later.of_second == nights.of_second


# --- what is old goes, and the way back stays open --------------------------------------------------------------------

KEEP_A_DAY = [f"retention.{name}_days=1" for name in ("nights", "results", "tables", "quarantine")]


@pytest.fixture(scope="module")
def pruned(nights, later):
    """Everything let go that a year later is too old, and what each person sees then under either model."""
    home = nights.home
    workspace = home.workspace(*KEEP_A_DAY, now=lambda: datetime.now(UTC) + timedelta(days=365))
    gone = prune(workspace)
    n_tables = len(list((home.path / "data" / "prepared").iterdir()))
    of_second = seen(home)
    go_back(home, to=1)
    return SimpleNamespace(gone=gone, n_tables=n_tables, of_second=of_second, of_first=seen(home), workspace=workspace)


def test_what_somebody_sees_or_may_see_again_is_never_too_old(nights, later, pruned):
    """Each person's image under either model is there, to the byte; the rest of old nights is gone."""
    assert pruned.of_second == later.of_second
    assert pruned.of_first == later.of_first
    for image in {*pruned.of_first.values(), *pruned.of_second.values()}:
        assert image_bytes(pruned.workspace, image)[0]
    assert pruned.gone.results
    assert pruned.gone.tables
    assert pruned.n_tables == 1
    assert repair(pruned.workspace, verify=True).is_sound


def test_the_night_after_goes_on(nights, pruned, plainly):
    """From the state and the tables that were kept, by the model that is back, in its basis."""
    pass_a_day(nights.home)
    told = plainly(nightly, nights.home.workspace(EPOCH, HELD))
    assert (told["state"], told["live_version"]) == ("updated", 1)
