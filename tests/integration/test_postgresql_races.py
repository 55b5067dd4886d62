"""Processes that open new databases of one server at once: one makes the tables, all of them go on."""

import subprocess
import sys

import pytest

from personalgen.catalogue.migrations import head_revision
from tests.catalogues import Catalogue, fresh_database

pytestmark = pytest.mark.timeout(300, func_only=True)

CATALOGUE = """
import sys
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.migrations import upgrade
sys.stdin.read(1)  # wait for the starting shot
print(upgrade(open_catalogue(sys.argv[1])))
"""
TRACKING = """
import sys
from pathlib import Path
import mlflow
from personalgen.registry.store import open_client
sys.stdin.read(1)
print(open_client(sys.argv[1], experiment="nightly", artifact_root=Path(sys.argv[2]))[1])
"""


def raced(script, *arguments):
    """Return what processes print that start at the same moment, each with arguments of its own."""
    racers = [
        subprocess.Popen([sys.executable, "-c", script, *own], stdin=-1, stdout=-1, stderr=-1, text=True)
        for own in arguments
    ]
    for racer in racers:
        racer.stdin.write("!")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=250) for racer in racers]
    assert all(racer.returncode == 0 for racer in racers), answers
    return [out.strip() for out, _ in answers]


def test_processes_that_open_a_new_catalogue_at_once_all_succeed(postgresql_server):
    """Three of them find it at the newest revision, with its views."""
    url = fresh_database(postgresql_server)
    assert raced(CATALOGUE, [url], [url], [url]) == [head_revision()] * 3
    assert Catalogue(url).ask("select count(*) as n from v_assets") == [{"n": 0}]


def test_homes_that_open_a_new_tracking_store_at_once_share_it(postgresql_server, tmp_path):
    """Two homes have no lock file in common: the server's lock lets one of them make MLflow's tables."""
    url = fresh_database(postgresql_server)
    first, second = raced(TRACKING, [url, str(tmp_path / "a")], [url, str(tmp_path / "b")])
    assert first == second
    assert len(Catalogue(url).ask("select 1 from experiments where name = 'nightly'")) == 1
