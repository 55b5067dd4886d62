"""`personalgen serve`, as a person starts it: a process of its own with a Prefect server that it starts itself.

Takes about a minute of one core: two servers, three nights. `make fault` kills a night besides
and waits for two minutes of silence.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from personalgen.worlds import ShapesWorld, add_days, write_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_ITEMS, DAYS = 128, 3
ZONE = ZoneInfo("Europe/Berlin")
AHEAD_SEC = 15
BUSY = 503
"""What Prefect answers where SQLite is locked for too long."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
RUN = "import sys; from personalgen.cli import main; sys.exit(main())"
NIGHTS = "select as_of, created_at, status, counts, night_id from night order by night_id"


@dataclass(frozen=True)
class Served:
    """A home that is served, and the server's address."""

    home: object
    url: str
    process: subprocess.Popen

    def ask(self, method, path, **body):
        """Return what the server answers; one that is being started again, or whose database is busy, is waited for."""
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = httpx.request(method, f"{self.url}{path}", json=body if method == "POST" else None, timeout=60)
                answer.raise_for_status()
                return answer.json()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                is_refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code != BUSY
                if is_refused or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def nightly(self):
        """Return what the server knows of the deployment that has the schedule."""
        (found,) = [each for each in self.ask("POST", "/deployments/filter") if each["name"] == "nightly"]
        return found

    def plan(self, *, seconds):
        """Schedule a night so many seconds ahead; return its instant and the run's id."""
        deployment = self.nightly()
        instant = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": instant.isoformat()}}
        run = self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", state=state)
        return instant, run["id"]

    def run(self, run_id):
        """Return a run as it stands."""
        return self.ask("GET", f"/flow_runs/{run_id}")

    def runs_of(self, instant):
        """Return the runs that were told to be the night of an instant."""
        runs = self.ask("POST", "/flow_runs/filter")
        return [run for run in runs if (run["parameters"].get("as_of") or "") == instant.isoformat()]

    def wait(self, run_id, states=ENDED, *, seconds=400):
        """Return a run once it has one of the states."""
        deadline = time.monotonic() + seconds
        while (found := self.run(run_id))["state_type"] not in states:
            assert time.monotonic() < deadline, f"{found['state']} for {seconds} seconds; {log_of(self.home)}"
            assert self.process.poll() is None, log_of(self.home)
            time.sleep(0.5)
        return found


def log_of(home):
    """Return what `serve` wrote."""
    return (home.path / "serve.log").read_text()


def free_port():
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(home, port, *overrides):
    """Start `personalgen serve` without anything of this process's own server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    options = home.options(f"schedule.port={port}", *overrides)
    with (home.path / "serve.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, "serve", *options],
            env=kept | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=log,
            stderr=log,
        )


@contextmanager
def served(home, port, *overrides):
    """Yield a served home once its deployments are known; end it by SIGTERM."""
    process = start(home, port, *overrides)
    try:
        found = Served(home, f"http://127.0.0.1:{port}/api", process)
        wait_until_served(found)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_until_served(served):
    """Return once `serve` says that it serves."""
    deadline = time.monotonic() + 240
    while "serving nightly" not in log_of(served.home):
        assert served.process.poll() is None, log_of(served.home)
        assert time.monotonic() < deadline, log_of(served.home)
        time.sleep(0.2)


def children(pid):
    """Return the processes that a process started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in found for child in file.read_text().split()]


def server_of(home):
    """Return the process id of the home's Prefect server."""
    return json.loads((home.path / "data" / ".prefect" / "server.json").read_text())["pid"]


def kill(pid):
    """End a process with a signal that nobody can catch."""
    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def home(new_home):
    """A home whose simulated history ends some days before now, so that days can pass before its nights."""
    made = new_home()
    made = replace(made, world=made.path / "world")
    write_history(ShapesWorld(N_ITEMS), made.world, history_of(made))
    return made


def history_of(home):
    """Return the options of the simulated history."""
    return home.workspace(recent()).settings.world.history


def recent():
    """Return the override that ends the history some days ago, at midnight."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return f"world.history.end_timestamp={int((midnight - timedelta(days=DAYS)).timestamp())}"


def let_a_day_pass(home):
    """Add events of about a third of the users; return how many of them a night reads."""
    database = home.world / "history.db"
    with closing(sqlite3.connect(database)) as connection:
        before = connection.execute("select max(rowid) from interactions").fetchone()[0]
        add_days(ShapesWorld(N_ITEMS), database, history_of(home), active_share=0.3)
        new = """select count(*) from (select distinct user_id, item_id, timestamp from interactions
                 join users using (user_id) where opted_out = 0 and interactions.rowid > ?)"""
        return connection.execute(new, (before,)).fetchone()[0]


@dataclass(frozen=True)
class Night:
    """A night that fired by itself, and what it told."""

    planned: datetime
    run: dict
    row: dict
    new_events: int

    @property
    def counts(self):
        """Its summary."""
        return json.loads(self.row["counts"])


def half_a_day_ahead():
    """Return the overrides of a schedule that is due once a day, and neither now nor soon."""
    at = datetime.now(ZONE) + timedelta(hours=12)
    return recent(), f"schedule.cron={at.minute} {at.hour} * * *", f"store.time_zone={ZONE}"


@dataclass(frozen=True)
class Planned:
    """What a server knows of the schedule."""

    deployment: dict
    instants: set


def planned(serving):
    """Return the schedule, once nights are planned by it."""
    deadline = time.monotonic() + 60
    while not (runs := [run for run in serving.ask("POST", "/flow_runs/filter") if run["auto_scheduled"]]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return Planned(serving.nightly(), {datetime.fromisoformat(run["expected_start_time"]) for run in runs})


@pytest.fixture(scope="module")
def scheduled():
    """The schedule that nights are served by."""
    return half_a_day_ahead()


@pytest.fixture(scope="module")
def plans():
    """What servers knew of the schedule, in order."""
    return []


@pytest.fixture(scope="module")
def nights(home, scheduled, plans):
    """Three nights in a row, planned some seconds ahead, a day of new events before each of the last two.

    While the second runs, the server is killed.
    """
    done = []
    with served(home, free_port(), *scheduled) as serving:
        plans.append(planned(serving))
        for k in range(3):
            n_new = let_a_day_pass(home) if k else 0
            instant, run_id = serving.plan(seconds=AHEAD_SEC)
            if k == 1:
                serving.wait(run_id, ("RUNNING",))
                time.sleep(3)
                kill(server_of(home))
            run = serving.wait(run_id)
            done.append(Night(instant, run, home.ask(NIGHTS)[-1], n_new))
    return done


def test_a_night_fires_by_itself_at_its_time(nights):
    """Within seconds of the instant it was planned for, which is its `as_of`; it reads nothing before."""
    for night in nights:
        assert night.run["state_type"] == "COMPLETED", night.run["state"]
        began = datetime.fromisoformat(night.run["start_time"])
        assert timedelta(seconds=-1) < began - night.planned < timedelta(seconds=30), "Prefect counts whole seconds"
        assert datetime.fromisoformat(night.row["created_at"]).replace(tzinfo=UTC) >= night.planned
        assert datetime.fromisoformat(night.row["as_of"]).replace(tzinfo=UTC) == night.planned


def test_nights_in_a_row_do_what_is_new_and_no_more(nights, home):
    """Each reads its new events alone, nobody's history anew, and draws for new and changed users alone."""
    first, *later = nights
    n_users = home.ask('select count(*) as n from "user" where not opted_out')[0]["n"]
    assert first.counts["images_made"] == n_users
    for night in later:
        counts = night.counts
        assert counts["state"] == "updated"
        assert (counts["new_events"], counts["users_replaced"]) == (night.new_events, 0)
        expected = n_users if counts["promoted"] else counts["users_new"] + counts["users_changed"]
        assert counts["images_made"] == expected
        assert counts["users_new"] + counts["users_changed"] + counts["users_unchanged"] == n_users
    assert [night.row["status"] for night in nights] == ["done"] * 3


def test_the_schedule_outlives_serve(nights, home, scheduled, plans):
    """The cron line of the settings is on the server, planned ahead in its zone, and is on after `serve` ended."""
    with served(home, free_port(), *scheduled) as serving:
        first, second = *plans, planned(serving)
    for plan in (first, second):
        assert not plan.deployment["paused"]
        assert [each["active"] for each in plan.deployment["schedules"]] == [True]
    assert first.instants <= second.instants
    minute, hour = scheduled[1].partition("=")[2].split()[:2]
    assert {instant.astimezone(ZONE).strftime("%-H %-M") for instant in first.instants} == {f"{hour} {minute}"}


SILENT = pytest.mark.skipif(
    "TESTS_SILENCE" not in os.environ,
    reason="kills nights and waits for what follows, for minutes; make fault sets TESTS_SILENCE",
)


@SILENT
def test_a_night_whose_process_died_goes_on_where_serve_lives(home, nights):
    """`serve` sees that it died, and the same night is done by another run, without a person."""
    with served(home, free_port(), recent()) as serving:
        let_a_day_pass(home)
        planned, run_id = serving.plan(seconds=1)
        serving.wait(run_id, ("RUNNING",))
        time.sleep(5)
        for pid in set(children(serving.process.pid)) - {server_of(home)}:
            kill(pid)
        assert serving.wait(run_id)["state_type"] == "CRASHED"
        deadline = time.monotonic() + 60
        while not (again := serving.runs_of(planned)):
            assert time.monotonic() < deadline, log_of(home)
            time.sleep(0.5)
        assert serving.wait(again[0]["id"])["state_type"] == "COMPLETED"
    night = home.ask(NIGHTS)[-1]
    assert night["status"] == "done"
    assert datetime.fromisoformat(night["as_of"]).replace(tzinfo=UTC) == planned
    assert "died; it goes on now" in log_of(home)


@SILENT
def test_a_killed_night_is_told_as_crashed_and_blocks_nothing(home, nights):
    """The server sees that it stopped beating; whoever serves next takes it over, and the next night is done."""
    port = free_port()
    first = start(home, port, recent())
    found = Served(home, f"http://127.0.0.1:{port}/api", first)
    wait_until_served(found)
    _, run_id = found.plan(seconds=1)
    found.wait(run_id, ("RUNNING",))
    time.sleep(5)
    own = children(first.pid)
    kill(first.pid)
    first.wait()
    for pid in set(own) - {server_of(home)}:
        kill(pid)
    began, server = time.monotonic(), server_of(home)
    while found.run(run_id)["state_type"] != "CRASHED":
        assert time.monotonic() - began < 300
        time.sleep(1)
    assert time.monotonic() - began > 30, "somebody else told it"
    let_a_day_pass(home)
    with served(home, port, recent()) as again:
        assert server_of(home) == server
        _, run_id = again.plan(seconds=1)
        assert again.wait(run_id)["state_type"] == "COMPLETED"
    assert home.ask(NIGHTS)[-1]["status"] == "done"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{found.url}/health")
