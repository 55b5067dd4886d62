"""Whole nights killed at random moments agree with nights that nobody killed; the long campaign is `make fault`."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.agreement import Agreed, disagreements, lost_and_doubled
from benchmarks.nights_killed import main
from tests import apart

KILLS = int(os.environ.get("TESTS_NIGHT_KILLS", "4"))


@pytest.mark.timeout(600)
def test_killed_nights_lose_and_repeat_nothing(tmp_path):
    """Three nights of a home, killed at random: catalogue, registry and files agree, and all users see images.

    Cut short itself, the campaign goes on where its log ends.
    """
    options = ["--home", str(tmp_path / "home"), "--prefect-every", "0", "--kills", str(KILLS)]
    file = tmp_path / "figures.json"
    done = apart.run(main, [*options, "--json", str(file)], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())
    assert figures["kills"] == KILLS
    assert figures["rounds_that_agree"] == 1
    assert figures["images_compared"] > 200
    assert [figures[name] for name in ("images_lost", "images_doubled", "nights_hung")] == [0, 0, 0]
    log = (tmp_path / "home" / "campaign.jsonl").read_text()
    command = [sys.executable, "-m", "benchmarks.nights_killed", *options]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.stdout == done.stdout
    assert (tmp_path / "home" / "campaign.jsonl").read_text() == log


def test_a_home_that_differs_is_told(first_night):
    """A row more, a file with other bytes, a version less, a temporary: each is named, and images are counted."""
    asset = {"user_key": 1, "generator_digest": 2, "condition_digest": 3, "operating_point_digest": 4, "variant": 0}
    one = Agreed({"asset": [asset, asset | {"variant": 1}]}, {"versions": [1]}, {"data/shards/0.tar": "a"}, [])
    other = Agreed({"asset": [asset, asset]}, {"versions": []}, {"data/shards/0.tar": "b"}, ["data/.x.tmp"])
    assert disagreements(one, one) == []
    assert lost_and_doubled(one, other) == (1, 1)
    told = "\n".join(disagreements(one, other))
    for part in ("left over: data/.x.tmp", "table asset: lacks 1, has 1 too many", "file: lacks 1", "versions is []"):
        assert part in told
