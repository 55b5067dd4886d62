"""Shard root and catalogue are brought in step: what is whole is adopted, what is not is told, nobody's image moves."""

import json

import pytest

from flows.generate_only import generate_only
from personalgen.generation.apart import seed_of
from personalgen.generation.shards import FOLDER, Sidecar, put_sidecar, read_sidecar
from personalgen.steps import repair

pytestmark = pytest.mark.timeout(120, func_only=True)

LAST = f"{FOLDER}/night=000001/000004.tar"


@pytest.fixture
def home(restored):
    """A home after a night."""
    return restored


def forget_shard(home, path=LAST):
    """Take a shard out of the catalogue, as if the night had been killed between sealing and cataloguing it."""
    own = f"(select shard_id from shard where path = '{path}')"
    home.catalogue.change(
        f"delete from user_current where asset_id in (select asset_id from asset where shard_id = {own})",
        f"delete from user_variant where asset_id in (select asset_id from asset where shard_id = {own})",
        f"delete from asset where shard_id = {own}",
        f"delete from shard where path = '{path}'",
    )


def rows_of(home, table):
    """Return rows without what says when, by which run and in which order."""
    rest = ("asset_id", "shard_id", "sealed_at", "mlflow_run_id")
    rows = home.ask(f"select * from {table}")
    return sorted(({name: parsed(value) for name, value in row.items() if name not in rest} for row in rows), key=repr)


def parsed(value):
    """Return JSON objects as dicts with sorted keys: their order says nothing."""
    is_json = isinstance(value, str) and value.startswith("{")
    return dict(sorted(json.loads(value).items())) if is_json else value


def test_there_is_nothing_to_do_after_a_night(home):
    """A repair of a sound home changes nothing, however often."""
    before = home.state()
    for verify in (False, True):
        done = repair(home.workspace(), verify=verify)
        assert done.is_sound
        assert not any((done.swept, done.removed, done.adopted, done.waiting, done.orphans, done.erasing, done.nights))
    assert home.tell("repair").out == "shard root and catalogue are in step\n"
    assert home.state() == before


def unscored(home):
    """Return the rows of images without their scores."""
    return [{**row, "score": None} for row in rows_of(home, "asset")]


def test_a_whole_shard_is_adopted_and_moves_nobody(home):
    """Its images are catalogued with the same facts, but for the judge's score, which no sidecar holds.

    Nobody's current image changes, and a second run finds nothing.
    """
    shards, assets = rows_of(home, "shard"), unscored(home)
    forget_shard(home)
    current = home.ask("select * from user_current")
    done = repair(home.workspace())
    assert done.adopted == {LAST: len(assets) - len(home.ask("select 1 from asset where shard_id < 5"))}
    assert (rows_of(home, "shard"), unscored(home)) == (shards, assets)
    assert home.ask("select * from user_current") == current
    assert repair(home.workspace()).adopted == {}


def test_a_shard_whose_pictures_were_drawn_again_is_adopted(home, plainly):
    """Its seeds are of later tries: as many as its sidecar tells, or as the setting says where it does not tell."""
    floor = ("generation.variants=2", "generation.min_distance=0.9", "generation.redraws=2")
    plainly(generate_only, home.workspace(*floor))
    path = LAST.replace("night=000001", "night=000002")
    query = f"""select user_id, variant, seed from asset join "user" using (user_key) join shard using (shard_id)
                where path = '{path}'"""
    rows = home.ask(query)
    assert any(row["seed"] == seed_of(row["user_id"], row["variant"], 2) for row in rows)
    forget_shard(home, path)
    assert repair(home.workspace("generation.redraws=0"), dry_run=True).adopted == {path: len(rows)}
    root = home.workspace().shard_root
    told = read_sidecar(root, path)
    facts = {name: fact for name, fact in told.facts.items() if name != "redraws"}
    put_sidecar(root, path, Sidecar(told.rows, told.sha256, facts))
    (why,) = repair(home.workspace("generation.redraws=1")).orphans.values()
    assert "does not know any more" in why
    assert repair(home.workspace()).adopted == {path: len(rows)}
    assert home.ask(query) == rows


def test_a_dry_run_says_the_same_and_changes_nothing(home):
    """What would be swept and adopted is told; then it is done."""
    forget_shard(home)
    root = home.workspace().shard_root
    (root.folder / f"{FOLDER}/night=000001/.000009.tar.x.tmp").write_bytes(b"half")
    root.put(f"{FOLDER}/night=000001/000009.parquet", root.read(LAST.replace(".tar", ".parquet")))
    before = home.state()
    told = home.tell("repair", "--dry-run")
    assert "2 files of killed writers would be swept" in told.out
    assert f"{LAST}: would be adopted" in told.out
    assert home.state() == before
    dry, done = repair(home.workspace(), dry_run=True), repair(home.workspace())
    assert (dry.swept, dry.adopted) == (done.swept, done.adopted)
    assert len(done.swept) == 2
    assert not any("000009" in path.name for path in home.path.rglob("*"))


@pytest.mark.parametrize("why", ["the night is not done", "a promotion by hand was cut"])
def test_a_shard_of_what_may_go_on_waits(home, why):
    """Who goes on knows whose current images they are to be; adopting them here would keep these from being moved."""
    forget_shard(home)
    if why == "the night is not done":
        home.catalogue.change("update night set status = 'failed'")
    else:
        (folder,) = (home.path / "data" / "nights").iterdir()
        (folder / "manual-x-y.parquet").touch()
    done = repair(home.workspace())
    assert (done.waiting, done.adopted) == ((LAST,), {})
    assert home.ask(f"select 1 from shard where path = '{LAST}'") == []


def test_a_cut_night_that_a_later_one_has_passed_is_adopted(home):
    """It is not run again, so its shards wait for nobody."""
    forget_shard(home)
    names = "source, source_digest, config_digest, attempts, day, created_at"
    home.catalogue.change(
        "update night set status = 'failed'",
        f"insert into night (night_key, as_of, status, {names}) select 'k', '2030-01-01', 'done', {names} from night",
    )
    assert list(repair(home.workspace()).adopted) == [LAST]


def without_sidecar(home, root):
    root.remove(LAST.replace(".tar", ".parquet"))


def with_other_bytes(home, root):
    root.overwrite(LAST, [(600, b"other")])


def without_facts(home, root):
    found = read_sidecar(root, LAST)
    put_sidecar(root, LAST, Sidecar(found.rows, found.sha256, {}))


def of_no_night(home, root):
    home.catalogue.change("update night set night_key = 'another'")


def of_a_deleted_night(home, root):
    home.catalogue.change("update night set status = 'deleted'")


def of_other_people(home, root):
    home.catalogue.change("update \"user\" set user_id = 'x' || user_id")


def of_the_forgotten(home, root):
    home.catalogue.change('update "user" set forgotten = true')


def drawn_by_nobody(home, root):
    home.catalogue.change("update model_version set generator_digest = 1")


def known_elsewhere(home, root):
    for end in (".tar", ".parquet"):
        root.put(LAST.replace("000004.tar", f"000009{end}"), root.read(LAST.replace(".tar", end)))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (without_sidecar, "sidecar is missing"),
        (with_other_bytes, "bytes are not those"),
        (without_facts, "older version"),
        (of_no_night, "knows no such night"),
        (of_a_deleted_night, "was deleted"),
        (of_other_people, "does not know any more"),
        (of_the_forgotten, "does not know any more"),
        (drawn_by_nobody, "model that drew it"),
        (known_elsewhere, "catalogued in other shards"),
    ],
)
def test_an_orphan_is_told_with_its_reason_and_left(home, spoil, why):
    """Whatever keeps a shard from being adopted, its bytes stay, and the catalogue does too."""
    if spoil is not known_elsewhere:
        forget_shard(home)
    root = home.workspace().shard_root
    spoil(home, root)
    before = home.state()
    done = repair(home.workspace())
    assert len(done.orphans) == 1
    assert why in next(iter(done.orphans.values()))
    assert (done.adopted, home.state()) == ({}, before)


def test_what_is_missing_or_changed_is_never_silent(home, caplog):
    """Missing and cut shards at once, changed bytes with --verify; the command exits with 1, a night warns."""
    root = home.workspace().shard_root
    paths = [f"{FOLDER}/night=000001/00000{k}.tar" for k in range(3)]
    root.remove(paths[0])
    root.put(paths[1], root.read(paths[1])[:-512])
    root.overwrite(paths[2], [(700, b"xxxx")])
    assert list(repair(home.workspace()).damaged) == paths[:2]
    told = home.tell("repair", "--verify", "--json")
    assert told.code == 1
    damaged = json.loads(told.out)["damaged"]
    assert list(damaged) == paths
    assert "missing" in damaged[paths[0]]
    assert "catalogued with" in damaged[paths[1]]
    from personalgen.steps.generate import _repaired

    assert len(_repaired(home.workspace()).damaged) == 2
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 2
