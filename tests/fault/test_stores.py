"""Databases that are locked, lost or half made: one clear line, nothing half done, and the rerun ends the night."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import Engine, event

from benchmarks.agreement import lasting_rows
from personalgen.errors import PersonalgenError, RegistryError
from personalgen.registry.models import ModelRegistry
from personalgen.registry.tracking import Tracking
from tests import apart

pytestmark = pytest.mark.timeout(600, func_only=True)

# Locks a SQLite database for all others until it is told to end.
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin exclusive")
print("locked", flush=True)
sys.stdin.read()
"""


def night(config, *overrides):
    """Run a night; print its summary, and log."""
    logging.basicConfig(level=logging.WARNING)
    sys.stdout.write(json.dumps(apart.plain_night(config, *overrides)) + "\n")


def night_apart(home, *overrides):
    """Run a night in a process of its own; return its summary and what it logged.

    MLflow keeps a lost database open as long as it lives.
    """
    options = home.options(*overrides)
    done = apart.run(night, options[1], *options[3::2])
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


class Killed(BaseException):
    """Ends a night where an exception handler for errors would not stop it."""


@pytest.fixture
def lock():
    """A function that lets another process lock a database; it returns how to end that."""
    running = []

    def start(database):
        process = subprocess.Popen(
            [sys.executable, "-c", LOCK, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout.readline() == "locked\n"
        return lambda: process.communicate("")

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def impatient():
    """Let MLflow wait for a lock for a tenth of a second; it says twenty, several times in a night that fails."""

    def shortened(_connection, _cursor, statement, parameters, _context, _executemany):
        return statement.replace("busy_timeout = 20000", "busy_timeout = 100"), parameters

    event.listen(Engine, "before_cursor_execute", shortened, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", shortened)


def test_a_locked_tracking_store_stops_the_night_and_not_its_successor(
    first_night, new_home, plain_nightly, lock, impatient
):
    """Another process locks mlflow.db when training begins: the night fails, says why, and ends whole later."""
    home, unlock = new_home(), []

    def progress(stage, done, _total, _note=""):
        if stage == "train" and not unlock:
            unlock.append(lock(home.path / "mlflow.db"))

    with pytest.raises(RegistryError, match="locked"):
        plain_nightly(home.workspace(progress=progress))
    unlock[0]()
    assert home.ask("select status from night") == [{"status": "failed"}]
    told = plain_nightly(home.workspace())
    assert told["promoted"]
    assert lasting_rows(home.state().catalogue) == lasting_rows(first_night.state.catalogue)


def test_a_tracking_store_is_whole_or_absent(tmp_path):
    """Killed while MLflow makes its tables, for which it needs seconds, the next process finds none and makes it."""
    done = apart.run(killed_while_it_makes_tables, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert list(tmp_path.glob(".mlflow.db.tmp*"))
    assert not (tmp_path / "mlflow.db").exists()
    assert Tracking(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "a", "nightly").experiment_id
    assert list(tmp_path.glob(".mlflow.db*")) == []


def killed_while_it_makes_tables(folder):
    """Open a new store, and be killed as soon as its file has grown."""

    def size(path):
        try:
            return path.stat().st_size
        except FileNotFoundError:  # SQLite removes its journals
            return 0

    def kill():
        while not any(size(path) > 100_000 for path in folder.glob(".mlflow.db*")):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    return Tracking(f"sqlite:///{folder}/mlflow.db", folder / "a", "nightly").experiment_id


# --- a tracking store that is gone ------------------------------------------------------------------------------------


def test_a_deleted_tracking_store_is_filled_from_the_catalogue(new_home):
    """Versions have the numbers and weights that they had, the alias is right, and the next night adds to them."""
    home = new_home(own_world=True)
    night_apart(home)
    before = home.ask("select version, generator_sha256 from model_version")
    (home.path / "mlflow.db").unlink()
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        connection.execute("insert into interactions values('sim0-00001', 'shape-00001', 1699999999, 1, 'like')")
    told, log = night_apart(home, "gate.min_users=1000000")
    assert "are registered again; earlier runs and metrics are gone" in log
    registry = home.workspace().registry
    assert [(v.version, v.generator_sha256) for v in registry.list_versions()][:1] == [tuple(before[0].values())]
    assert (told["version"], told["live_version"]) == (2, 1)
    assert registry.aliases() == {"champion": 1, "challenger": 2}
    assert registry.fetch(1).is_dir()


def test_a_tracking_store_that_is_deleted_in_the_middle_of_a_night(first_night, new_home, plain_nightly):
    """Killed before register, and mlflow.db deleted: the night goes on from its stages, with runs of its own."""
    home = new_home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelRegistry, "register", killed)
        with pytest.raises(Killed):
            plain_nightly(home.workspace())
    (home.path / "mlflow.db").unlink()
    night_apart(home)
    assert lasting_rows(home.state().catalogue) == lasting_rows(first_night.state.catalogue)
    tracking = home.state().tracking
    assert [(row["alias"], row["version"]) for row in tracking["registered_model_aliases"]] == [("champion", 1)]
    assert {run["status"] for run in tracking["runs"]} == {"FINISHED"}


def killed(*_, **__):
    """Stand for a call at which the process dies."""
    raise Killed


# --- a database server that restarts ----------------------------------------------------------------------------------


@pytest.mark.timeout(400)
@pytest.mark.parametrize("when", ["train", "generate"])
def test_postgresql_restarts_in_the_middle_of_a_night(
    new_home, plain_nightly, postgresql_server, restart_postgresql, when
):
    """Connections break while a stage works: the night goes on or fails with one line, and a rerun ends it."""
    home, restarted = new_home(), []
    names = [f"restart_{when}_{kind}" for kind in ("catalogue", "mlflow")]
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        for name in names:
            connection.execute(f"create database {name}")
    catalogue, tracking = (f"{postgresql_server.replace(':', '+psycopg:', 1)}/{name}" for name in names)
    stores = (f"store.catalogue_url={catalogue}", f"store.tracking_uri={tracking}")

    def progress(stage, _done, _total, _note=""):
        if stage == when and not restarted:
            restarted.append(stage)
            restart_postgresql()

    workspace = home.workspace(*stores, progress=progress)
    try:
        told = plain_nightly(workspace)
    except PersonalgenError:  # nothing else: what a driver raises would be a trace on the terminal
        told = plain_nightly(workspace)
    finally:
        workspace.close()
    assert restarted == [when]
    assert told["promoted"]
    with psycopg.connect(f"{postgresql_server}/{names[0]}") as connection:
        counts = "select count(*), count(distinct user_key) from asset"
        assert connection.execute(counts).fetchone() == (told["images_made"], told["images_made"])
        assert connection.execute("select status from night").fetchall() == [("done",)]
    with psycopg.connect(f"{postgresql_server}/{names[1]}") as connection:
        assert connection.execute("select count(*) from model_versions").fetchone() == (1,)
        assert connection.execute("select distinct status from runs").fetchall() == [("FINISHED",)]
