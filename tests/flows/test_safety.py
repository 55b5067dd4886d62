"""A night with a filter: what it refuses is nowhere, is counted, and is not drawn again."""

import json
import sys

import pytest

OWN = """
seen = []

class Filter:
    name, version = "saturation", "3"
    def __call__(self, images):
        seen.append(len(images))
        spread = images.max(axis=-1).astype("f4") - images.min(axis=-1)
        return (spread.mean(axis=(1, 2)) > {middle}).astype("f4")

def make():
    return Filter()
"""


@pytest.fixture(scope="module")
def night(first_night, new_home, plain_nightly, tmp_path_factory):
    """Return a home whose night refused about half of its images, what it told and left, and its filter's options."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_safety.py").write_text(OWN.format(middle=_middle(first_night)))
    sys.path.insert(0, str(folder))
    filtered = ("safety.filter=own_safety:make", "safety.threshold=0.5")
    home = new_home()
    told = plain_nightly(home.workspace(*filtered))
    tables = {name: home.ask(f"select * from {name}") for name in ("refused", "asset", "shard", "user_current")}
    yield home, told, filtered, tables
    sys.path.remove(str(folder))


def _middle(first_night):
    """Return the median of what the filter looks at, of the pictures of a night without it."""
    import io

    import numpy as np
    from PIL import Image

    from personalgen.steps.assets import image_bytes

    workspace, spreads = first_night.home.workspace(), []
    for row in first_night.home.ask("select asset_id from asset order by asset_id limit 40"):
        image = np.asarray(Image.open(io.BytesIO(image_bytes(workspace, row["asset_id"])[0])))
        spreads.append((image.max(axis=-1).astype("f4") - image.min(axis=-1)).mean())
    return float(np.median(spreads))


def test_refused_images_are_counted_and_nowhere_else(night):
    """Made and refused add up to the people of the night; nobody has both; the rule stands with the shard."""
    home, summary, filtered, tables = night
    refused, made = tables["refused"], tables["asset"]
    assert summary["images_refused"] == len(refused) > 0
    assert summary["images_made"] == len(made) > 0
    assert {row["user_key"] for row in refused}.isdisjoint(row["user_key"] for row in made)
    assert {row["rule"] for row in refused} == {row["safety"] for row in tables["shard"]} == {"saturation 3 < 0.5"}
    assert sum(row["n_assets"] for row in tables["shard"]) == len(made)
    assert {row["user_key"] for row in tables["user_current"]} == {row["user_key"] for row in made}
    text = home.tell("nightly", overrides=filtered).out
    assert f"{len(refused):,} refused by own_safety:make" in text


def test_no_refused_image_is_in_the_contact_sheet(night, monkeypatch, tmp_path):
    """What the filter minds is blank there, and so in the report and in MLflow; the rest is shown."""
    import numpy as np

    from personalgen import steps
    from personalgen.steps.night import Night, from_json, stage_result

    home, _, filtered, _ = night
    module, rows = sys.modules["personalgen.steps.report"], []
    sheet = module.contact_sheet
    monkeypatch.setattr(module, "contact_sheet", lambda shown: rows.extend(shown) or sheet(shown))
    (path,) = (home.path / "data" / "nights").glob("*/prepare.json")
    prepared = from_json(Night, json.loads(path.read_text()))
    results = [stage_result(prepared, stage) for stage in (steps.Embedded, steps.Decided)]
    module._sheet(home.workspace(*filtered), prepared, *results, tmp_path)
    images = np.stack([image for row in rows for image in row.generated])
    blank = (images == 255).all(axis=(1, 2, 3))
    refused = sys.modules["own_safety"].Filter()(images) > 0.5
    assert 0 < blank.sum() < len(images)
    assert not refused.any()


def test_the_same_image_is_not_drawn_again_until_the_rule_changes(night, monkeypatch):
    """Released again, the model draws nothing of what was refused; under a milder rule it draws all of that."""
    import own_safety

    home, summary, filtered, _ = night
    version = home.ask("select version from model_version order by version desc limit 1")[0]["version"]
    own_safety.seen[:] = []
    again = home.tell("models", "promote", str(version), "--reason", "again", overrides=filtered)
    assert again.code == 0, again.err
    assert own_safety.seen == []
    assert home.ask("select count(*) as n from asset") == [{"n": summary["images_made"]}]
    monkeypatch.setattr(own_safety.Filter, "__call__", lambda self, images: [0.9] * len(images))
    milder = home.tell(
        "models", "promote", str(version), "--reason", "milder", overrides=(filtered[0], "safety.threshold=1.0")
    )
    assert milder.code == 0, milder.err
    assert home.ask("select count(*) as n from asset") == [{"n": summary["images_made"] + summary["images_refused"]}]


def test_a_night_without_a_filter_says_so(first_night):
    """The default is none, and the summary does not leave that open."""
    assert (first_night.summary["images_refused"], first_night.summary["safety_filter"]) == (0, "none")
