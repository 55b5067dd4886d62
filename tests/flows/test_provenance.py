"""A picture of a night is told from another one: by what it says of itself, and by its bytes."""

import json
from dataclasses import replace

from personalgen.generation.provenance import _into_png, read_provenance
from personalgen.steps.assets import image_bytes


def verified(night, path):
    """Return what `assets verify` says of a file."""
    told = night.home.tell("assets", "verify", str(path), "--json")
    assert told.code == 0, told.err
    return json.loads(told.out)[0]


def saved(night, folder):
    """Return an asset's id and a file with its bytes."""
    asset_id = night.home.ask("select min(asset_id) as first from asset")[0]["first"]
    data, member = image_bytes(night.home.workspace(), asset_id)
    path = folder / member
    path.write_bytes(data)
    return asset_id, path


def test_an_asset_is_known_by_its_bytes(first_night, tmp_path):
    """The picture of an asset names model, weights and night, and is found again, whatever the file is called."""
    asset_id, path = saved(first_night, tmp_path)
    said = verified(first_night, path.rename(tmp_path / "other.png"))
    (night,) = first_night.home.ask("select night_key, day from night order by night_id limit 1")
    (model,) = first_night.home.ask("select generator_sha256, model_name, version from model_version limit 1")
    assert said["verdict"] == "ours"
    assert said["asset_id"] == asset_id
    assert (said["night"], said["day"]) == (night["night_key"], night["day"])
    assert said["generator"] == model["generator_sha256"]
    assert said["model"] == f"{model['model_name']} v{model['version']}"
    assert said["generated"] == "true"


def test_a_changed_picture_is_not_ours(first_night, tmp_path):
    """A picture that says it is of this night without being an asset is told apart, and so is one that says nothing."""
    _, path = saved(first_night, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data + b"\0")
    assert verified(first_night, path)["verdict"] == "changed or erased"
    plain = data[:33] + data[33 + 12 + int.from_bytes(data[33:37], "big") :]  # IHDR, then the chunk that says it
    elsewhere = replace(read_provenance(data), night="0" * 32)
    path.write_bytes(_into_png(elsewhere.packet())(plain))
    assert verified(first_night, path)["verdict"] == "unknown here"
    path.write_bytes(plain)
    assert verified(first_night, path) == {"verdict": "no provenance"}


def test_a_file_that_is_no_picture_is_said_so(first_night, tmp_path):
    """A missing file, and one that is no picture, are errors of the caller's, not verdicts."""
    (tmp_path / "x.png").write_text("no picture")
    for name in ("x.png", "missing.png"):
        told = first_night.home.tell("assets", "verify", str(tmp_path / name))
        assert told.code == 2
        assert "Nothing was changed" in told.err
