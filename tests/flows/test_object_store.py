"""A night whose images lie in an S3 bucket, read, repaired and erased there; nothing of them is in the home."""

import json
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import pytest
from PIL import Image

from personalgen.catalogue import placed
from personalgen.generation.roots import ObjectRoot
from personalgen.generation.shards import FOLDER, read_member, read_sidecar
from personalgen.steps import finish_erasures, forget, repair

pytestmark = pytest.mark.timeout(180, func_only=True)


class Written(NamedTuple):
    """What a night put into the bucket."""

    puts: Counter
    """How often each object was put, in order."""
    files: dict
    """The bytes of each object after the night."""
    sizes: list
    """Those of the shards as catalogued, by path."""


@pytest.fixture(scope="module")
def night(new_home, plain_nightly, s3_bucket):
    """A home after a night, the setting that leads to its images, and what the night wrote."""
    home, place, puts = new_home(), f"store.shard_root={s3_bucket}/nightly", Counter()
    put = ObjectRoot.put

    def counted(root, path, data):
        puts[path] += 1
        put(root, path, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectRoot, "put", counted)
        plain_nightly(home.workspace(place))
    sizes = [row["byte_length"] for row in home.ask("select byte_length from shard order by path")]
    return home, place, Written(puts, home.workspace(place).shard_root.files(FOLDER), sizes)


def images(workspace):
    """Return (user, bytes) of every image by the id of its asset."""
    return {
        one.asset_id: (
            one.user_id,
            read_member(
                workspace.shard_root,
                one.shard_path,
                offset=one.shard_offset,
                byte_length=one.byte_length,
                crc32=one.crc32,
            ),
        )
        for one in placed.placed_assets(workspace.engine, live_only=False)
    }


def test_each_shard_is_put_once_behind_its_sidecar(night):
    """Ten objects for five shards, each put once, and none of them in the home."""
    home, _, (puts, files, sizes) = night
    assert len(files) == 10
    assert puts == dict.fromkeys(files, 1)
    assert list(puts)[:2] == [f"{FOLDER}/night=000001/000000.parquet", f"{FOLDER}/night=000001/000000.tar"]
    assert not (home.path / "data" / FOLDER).exists()
    assert sizes == [files[path] for path in sorted(files) if path.endswith(".tar")]


def test_images_are_shown_and_exported_from_the_bucket(night, tmp_path):
    """By ranged reads; the commands need the setting and nothing else."""
    home, place, _ = night
    (first, *_) = home.ask("select asset_id from asset")
    shown = home.tell("assets", "show", str(first["asset_id"]), "--save", str(tmp_path / "one.png"), overrides=[place])
    assert shown.code == 0, shown.err
    with Image.open(tmp_path / "one.png") as image:
        assert image.size == (16, 16)
    assert home.tell("assets", "export", str(tmp_path / "out"), overrides=[place]).code == 0
    assert len(list((tmp_path / "out" / "images").iterdir())) == len(home.ask("select 1 from user_current"))


def test_the_bucket_and_the_catalogue_are_in_step(night):
    """Nothing to repair; in another, empty prefix every shard is missing."""
    home, place, _ = night
    done = repair(home.workspace(place), verify=True)
    assert (done.is_sound, done.adopted, done.orphans) == (True, {}, {})
    assert len(repair(home.workspace(f"{place}-other"), dry_run=True).damaged) == 5


class CutError(BaseException):
    """Ends the process, as far as the code can tell."""


def cut_here(*_):
    raise CutError


@pytest.mark.parametrize("cut", ["nowhere", "put", "remove"])
def test_a_person_is_erased_from_the_bucket(night, monkeypatch, cut):
    """The shard is written anew under another name, then the old one goes; a cut on the way is gone on with."""
    home, place, _ = night
    workspace = home.workspace(place)
    before = images(workspace)
    person = min({user for user, _ in before.values()})
    theirs = [data for user, data in before.values() if user == person]
    own = 'select path from shard join asset using (shard_id) join "user" using (user_key) where user_id'
    old = {row["path"] for row in home.ask(f"{own} = '{person}'")}
    with monkeypatch.context() as patch, workspace.only_night(), suppress(CutError):
        if cut != "nowhere":
            patch.setattr(ObjectRoot, cut, cut_here)
        forget(workspace, person, reason="asked", actor="test")
    assert len(finish_erasures(workspace)) == (cut != "nowhere")
    assert images(workspace) == {key: one for key, one in before.items() if one[0] != person}
    root = workspace.shard_root
    contents = {path: root.read(path) for path in root.files(FOLDER)}
    assert not any(data in content for data in theirs for content in contents.values())
    assert old.isdisjoint(contents)
    tars = {row["path"]: row["sha256"] for row in home.ask("select path, sha256 from shard")}
    assert {path for path in contents if path.endswith(".tar")} == set(tars)
    assert all(read_sidecar(root, path).sha256 == sha256 == root.sha256(path) for path, sha256 in tars.items())
    assert repair(workspace, verify=True).is_sound
    (newest, *_) = json.loads(home.tell("forgotten", "--json", overrides=[place]).out)
    assert newest["receipt"]["shards"] == [f"s3://shards/nightly/{path}" for path in tars if "-erased" in path][-1:]
