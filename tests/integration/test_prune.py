"""What is old goes by the settings, and what anybody needs stays, however old it is."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from personalgen.catalogue import erasures
from personalgen.config import build_settings
from personalgen.errors import ConfigError
from personalgen.steps import Workspace, prune, repair
from personalgen.steps.data import NightData
from personalgen.steps.models import newest_night
from personalgen.tables import load_prepared

pytestmark = pytest.mark.timeout(180, func_only=True)

OLD = "0" * 32
ALL = [f"retention.{name}_days=30" for name in ("nights", "results", "tables", "quarantine")]


def in_60_days():
    return datetime.now(UTC) + timedelta(days=60)


@pytest.fixture
def home(restored):
    """A home after a night, and one of two years ago with files of its own and no image."""
    data = restored.path / "data"
    same = "source, source_digest, config_digest, status, attempts, day, as_of"
    restored.catalogue.change(
        f"""insert into night (night_id, night_key, created_at, {same})
                      select 7, '{OLD}', '2024-01-01 00:00:00.000000', {same} from night""",
    )
    (key,) = (row["night_key"] for row in restored.ask("select night_key from night where night_id = 1"))
    own, old = data / "nights" / key[:16], data / "nights" / OLD[:16]
    shutil.copytree(own, old)
    facts = json.loads((own / "prepare.json").read_text())
    tables = data / "prepared" / "old"
    shutil.copytree(facts["prepared"], tables)
    (old / "prepare.json").write_text(json.dumps(facts | {"key": OLD, "prepared": str(tables)}))
    (old / "embed.json").unlink()  # so that it is not the newest that embedded
    return restored


def names(folder):
    """Return the names in a folder."""
    return {path.name for path in folder.iterdir()}


def test_nothing_goes_by_default(home):
    """Every setting is 0, which keeps for ever; the command says so."""
    before = home.state()
    told = home.tell("nights", "prune")
    assert (told.code, "kept for ever" in told.out) == (0, True)
    assert home.state() == before


def test_negative_days_are_refused():
    """As any option that no code can use."""
    with pytest.raises(ConfigError, match=r"retention.*nights_days"):
        build_settings({"retention": {"nights_days": -1}})


def test_the_settings_of_retention_make_no_other_night():
    """They decide no result, so that the same night is the same whatever is kept."""
    assert build_settings({"retention": {"nights_days": 9}}).digest() == build_settings({}).digest()


def test_a_dry_run_says_what_would_go_and_changes_nothing(home):
    """The same as a real one then lets go, which leaves the home sound."""
    before = home.state()
    said = json.loads(home.tell("nights", "prune", "--dry-run", "--json", overrides=ALL).out)
    told = home.tell("nights", "prune", "--dry-run", overrides=ALL).out
    assert "1 night would go: 7" in told
    nouns = [line.split(" would go")[0].partition(" ")[2] for line in told.splitlines() if " would go" in line]
    assert [noun.removesuffix("s") for noun in nouns] == ["night", "result folder", "table folder", "quarantine"]
    assert home.state() == before
    did = json.loads(home.tell("nights", "prune", "--json", overrides=ALL).out)
    assert said["nights"] == did["nights"] == [7]
    assert said["kept"] == did["kept"] == {}
    assert home.ask("select night_id, status from night where status = 'deleted'") == [
        {"night_id": 7, "status": "deleted"}
    ]
    (line,) = home.ask("select actor, reason from night_deletion")
    assert line == {"actor": "retention", "reason": "older than 30 days"}
    assert OLD[:16] not in names(home.path / "data" / "nights")
    assert "old" not in names(home.path / "data" / "prepared")
    assert repair(home.workspace()).is_sound


def test_what_is_needed_stays_however_old(home):
    """The newest night, which the next goes on from, keeps its images, results and tables; its quarantine goes."""
    before = home.state()
    pruned = prune(home.workspace(*ALL, now=in_60_days))
    assert pruned.nights == (7,)
    assert pruned.kept.keys() == {1}
    assert (pruned.results, pruned.tables) == ((), ())
    after = home.state()
    for table in ("asset", "user_current", "live_release", "model_version"):
        assert after.catalogue[table] == before.catalogue[table]
    gone = before.files.keys() - after.files.keys()
    assert all(OLD[:16] in path or "/old/" in path for path in gone), gone
    changed = {path.rpartition("/")[2] for path in after.files if after.files[path] != before.files.get(path)}
    assert changed == {"quarantine.parquet", "manifest.json"}


def test_a_night_whose_image_stands_for_somebody_stays(home):
    """Under any model: one image is enough."""
    home.catalogue.change("update asset set night_id = 7 where asset_id = (select max(asset_id) from user_current)")
    pruned = prune(home.workspace("retention.nights_days=30"))
    assert (pruned.nights, pruned.kept) == ((), {7: "images of it stand for users"})
    assert len(home.ask("select 1 from night where status = 'deleted'")) == 0


def test_results_go_and_their_numbers_stay(home):
    """Checkpoints, vectors and recommendations of an old night; what each stage told is still there."""
    folder = home.path / "data" / "nights" / OLD[:16]
    told = {path.name for path in folder.glob("*.json")}
    pruned = prune(home.workspace("retention.results_days=30"))
    assert pruned.results == (f"nights/{OLD[:16]}",)
    assert names(folder) == told
    assert prune(home.workspace("retention.results_days=30")).results == ()


def test_tables_go_and_the_night_stays(home):
    """Those of the newest night are what the next one is compared with, and stay."""
    pruned = prune(home.workspace("retention.tables_days=30", now=in_60_days))
    assert pruned.tables == ("prepared/old",)
    assert len(names(home.path / "data" / "prepared")) == 1
    workspace = home.workspace()
    assert len(NightData.of(workspace, newest_night(workspace)[0]).history.user_ids) > 0


def test_rows_that_were_set_aside_go_and_are_counted_still(home):
    """The folder is sealed again, and the night is the same night if it is prepared again."""
    counted = home.ask("select * from quarantine")
    folder = home.path / "data" / "prepared" / "old"
    assert pq.read_metadata(folder / "quarantine.parquet").num_rows > 0
    pruned = prune(home.workspace("retention.quarantine_days=30", now=in_60_days))
    assert len(pruned.quarantines) == 2
    assert load_prepared(folder, verify=True).quarantine.empty
    assert home.ask("select * from quarantine") == counted != []
    assert prune(home.workspace("retention.quarantine_days=30", now=in_60_days)).quarantines == ()


def test_an_open_erasure_goes_first(home):
    """It has to find every file of the person: until it has ended nothing goes, and a real run ends it."""
    (row,) = home.ask('select user_id from user_current join "user" using (user_key) order by user_key limit 1')
    opened = home.workspace()
    erasures.begin_erasures(opened.engine, [row["user_id"]], actor="test", reason="asked", at=opened.now())
    waiting = prune(home.workspace(*ALL), dry_run=True)
    assert (waiting.nights, "erasure is open" in waiting.waits_for) == ((), True)
    done = prune(home.workspace(*ALL))
    assert (done.nights, done.waits_for) == ((7,), "")
    assert home.ask("select 1 from erasure") == []


def test_a_cut_anywhere_is_gone_on_with(home, cut, tmp_path):
    """The next call ends it, and what is needed is there."""
    spoilt, put_catalogue_back = tmp_path / "unpruned", home.catalogue.kept(tmp_path)
    shutil.copytree(home.path / "data", spoilt)

    def act(workspace: Workspace) -> None:
        prune(workspace)

    n_calls = cut(home.workspace(*ALL, now=in_60_days), None, act)
    assert n_calls > 6
    whole = names(home.path / "data" / "nights"), names(home.path / "data" / "prepared")
    for last in range(1, n_calls + 1):
        shutil.rmtree(home.path / "data")
        shutil.copytree(spoilt, home.path / "data")
        put_catalogue_back()
        cut(home.workspace(*ALL, now=in_60_days), last, act)
        workspace = home.workspace(*ALL, now=in_60_days)
        prune(workspace)
        assert (names(home.path / "data" / "nights"), names(home.path / "data" / "prepared")) == whole
        assert home.ask("select status from night where night_id = 7") == [{"status": "deleted"}]
        for folder in (home.path / "data" / "prepared").iterdir():
            assert load_prepared(folder, verify=True).quarantine.empty
        workspace.engine.dispose()
