"""What every test needs: quiet trackers, a Prefect home of its own, one thread, one Hypothesis profile."""

import atexit
import io
import json
import logging
import os
import shutil
import socket
import sqlite3
import struct
import subprocess
import tempfile
import zlib
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Before anything imports mlflow, prefect or numpy: they read these once.
_HOME = Path(tempfile.mkdtemp(prefix="personalgen-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "MLFLOW_ALLOW_MODEL_CODE_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",  # threads of linear algebra wait for each other where cores are shared, ten times over
        "OPENBLAS_NUM_THREADS": "1",
        "PREFECT_HOME": str(_HOME / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
)

import pytest  # noqa: E402 - after the environment is set
import torch  # noqa: E402 - likewise
from hypothesis import HealthCheck, settings  # noqa: E402 - likewise

from personalgen.artifacts import sha256_file  # noqa: E402 - likewise
from tests.catalogues import Catalogue, fresh_database  # noqa: E402 - likewise

torch.set_num_threads(1)  # on two cores shared with anything else, more threads are slower and change the last bits

settings.register_profile(
    "house",
    deadline=None,  # a loaded machine is not a bug
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")


# --- which database keeps the catalogue ------------------------------------------------------------------------------


def pytest_addoption(parser):
    """Let a run say where homes keep their catalogues."""
    parser.addoption("--catalogue", choices=("sqlite", "postgresql"), default="sqlite", help="where homes keep theirs")


def pytest_configure(config):
    """Let workspaces that tests drop be closed by the collector: for files it says nothing, for connections it does."""
    if config.getoption("--catalogue") == "postgresql":
        dropped = (
            r"ignore:Exception ignored in. <function BaseConnection.__del__:pytest.PytestUnraisableExceptionWarning"
        )
        config.addinivalue_line("filterwarnings", dropped)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Skip the tests of SQLite's own ways where the catalogue is not one of it; let whole nights begin first.

    They wait for servers and locks, and whoever begins them last is waited for by the other processes.
    """
    skip = pytest.mark.skip(reason="about SQLite's own ways; --catalogue postgresql was asked for")
    for item in items:
        if config.getoption("--catalogue") != "sqlite" and item.get_closest_marker("sqlite_only"):
            item.add_marker(skip)
    items.sort(key=lambda item: not {"fault", "flows"} & {*item.path.parts})


@pytest.fixture(scope="session")
def new_catalogue(request):
    """Return a function that gives a home an empty catalogue: a file that the first use makes, or a database."""

    def make(home):
        if request.config.getoption("--catalogue") == "sqlite":
            return Catalogue(f"sqlite:///{home}/data/catalogue.db")
        return Catalogue(fresh_database(request.getfixturevalue("postgresql_server")))

    return make


# --- a PostgreSQL server ---------------------------------------------------------------------------------------------

INITDB = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) + [
    Path(found) for found in [shutil.which("initdb")] if found
]


def as_server_user(*command):
    """Run a PostgreSQL program, which refuses root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture(scope="session")
def postgresql_server():
    """Yield the URL of a PostgreSQL server that is thrown away."""
    if not INITDB:
        pytest.skip("PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin or on the PATH")
    programs, folder = INITDB[-1].parent, Path(tempfile.mkdtemp(prefix="personalgen-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    as_server_user(
        str(programs / "initdb"), "-D", data, "-U", "pg", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync"
    )
    as_server_user(str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", settings, "start")
    try:
        yield f"postgresql://pg@127.0.0.1:{port}"
    finally:
        as_server_user(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def restart_postgresql(postgresql_server):
    """Return a function that restarts the server as a crash does: all connections break, no commit is lost."""
    import psycopg

    def restart():
        with psycopg.connect(f"{postgresql_server}/postgres") as connection:
            (data,) = connection.execute("show data_directory").fetchone()
        as_server_user(
            str(INITDB[-1].parent / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "restart", "-l", f"{data}.log"
        )

    return restart


# --- an object store for shards ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def s3_bucket():
    """The URL of a bucket of an S3 server of the session; the environment leads to it."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed: pip install 'personalgen[s3]'")
    server = pytest.importorskip("moto.server", reason="moto, of the extra dev, is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        thread = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        thread.start()
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*thread.get_host_and_port()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        import fsspec

        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("shards")
        yield "s3://shards"
        thread.stop()


# --- whole nights, for tests/flows and whoever looks at their results; most tests import nothing of this --------------

TINY = Path(__file__).parent / "flows" / "tiny.toml"
N_ITEMS = 128
DIRT = {
    ("interactions", "bad_timestamp"): 1,
    ("interactions", "duplicate"): 5,
    ("interactions", "future"): 3,
    ("interactions", "unknown_item"): 4,
    ("items", "image_too_large"): 1,
    ("items", "image_truncated"): 1,
}


@dataclass(frozen=True)
class Told:
    """What a command returned and printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class State:
    """All that a home holds: rows by table, and the digest of every file that is no database, lock or log."""

    catalogue: dict
    tracking: dict
    files: dict


@dataclass(frozen=True)
class Home:
    """A home, and the simulated history that its nights read."""

    path: Path
    world: Path
    catalogue: Catalogue

    @property
    def kept_in(self):
        """The setting that names the catalogue; SQLite's is the default."""
        return f"store.catalogue_url={'' if self.catalogue.is_sqlite else self.catalogue.url}"

    def options(self, *overrides):
        """Return the options of a command that works in this home."""
        pairs = (f"home={self.path}", f"world.folder={self.world}", self.kept_in, *overrides)
        return ["--config", str(TINY), *(part for pair in pairs for part in ("--set", pair))]

    def workspace(self, *overrides, **display):
        """Return the workspace that such a command opens."""
        from personalgen.config import load_settings
        from personalgen.steps import Workspace

        return Workspace(load_settings(TINY, self.options(*overrides)[3::2]), **display)

    def tell(self, *arguments, overrides=()):
        """Run the command line in this home."""
        from personalgen.cli import main

        if arguments[:2] == ("assets", "sql"):
            overrides = (*overrides, *self.catalogue.as_analyst())
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = main([*arguments, *self.options(*overrides)])
        return Told(code, out.getvalue(), err.getvalue())

    def ask(self, statement):
        """Return rows of the catalogue as dicts, past every layer of ours."""
        return self.catalogue.ask(statement)

    def copied(self):
        """Return a copy of this home at rest, which has a history of its own: wherever a file names it, it says so.

        By a path of equal length: MLflow's database may be written in like any file.
        """
        taken = sum(1 for _ in self.path.parent.iterdir())
        path = self.path.with_name(f"{taken:0{len(self.path.name)}}")
        old, new = bytes(self.path), bytes(path)
        assert len(old) == len(new)

        def copy_file(file, copy):
            Path(copy).write_bytes(Path(file).read_bytes().replace(old, new))

        shutil.copytree(self.path, path, copy_function=copy_file)
        catalogue = self.catalogue.copied(path / "data" / "catalogue.db")
        return Home(path, path / self.world.relative_to(self.path), catalogue)

    def state(self):
        """Return all that is there now."""
        kept = [p for p in self.path.rglob("*") if p.is_file() and not {".prefect", "logs"} & {*p.parts}]
        kept = [p for p in kept if ".db" not in p.name]
        return State(
            catalogue=self.catalogue.tables(),
            tracking=Catalogue(f"sqlite:///{self.path}/mlflow.db").tables(),
            files={str(p.relative_to(self.path)): sha256_file(p) for p in kept if not p.name.endswith(".lock")},
        )


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory):
    """Folder of a small simulated history with a few bad rows; copy it before letting time pass in it."""
    from personalgen.config import load_settings
    from personalgen.worlds import ShapesWorld, write_history

    folder = tmp_path_factory.mktemp("world")
    database = write_history(ShapesWorld(N_ITEMS), folder, load_settings(TINY).world.history)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript("""
            insert into interactions select * from interactions order by timestamp limit 5;
            insert into interactions select 'sim0-00001', 'shape-00001', 4000000000 + value, 1, 'like'
              from json_each('[0, 1, 2]');
            insert into interactions select 'sim0-00002', 'shape-99999', 1699999000 + value, 1, 'like'
              from json_each('[0, 1, 2, 3]');
            insert into interactions values('sim0-00003', 'shape-00003', 'yesterday', 1, 'like');
        """)
    write_huge_png(folder / "images" / "shape-00010.png", edge=20_000)
    cut = folder / "images" / "shape-00011.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    return folder


@pytest.fixture(scope="session")
def bad_rows():
    """The bad rows of the tiny world by table and reason, but for the events on its two items without a picture."""
    return DIRT


def write_huge_png(path, *, edge):
    """Write a valid one-bit PNG of edge x edge white pixels, some 50 kB, without ever holding it in memory."""
    squeeze, row = zlib.compressobj(), b"\0" + b"\xff" * (edge // 8)
    data = b"".join([*(squeeze.compress(row * 100) for _ in range(edge // 100)), squeeze.flush()])
    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.fixture(scope="session")
def empty_tracking(tmp_path_factory):
    """A store of MLflow's without a run, as the first night makes it by dozens of migrations."""
    from personalgen.registry.store import open_client

    folder = tmp_path_factory.mktemp("tracking")
    open_client(f"sqlite:///{folder}/mlflow.db", experiment="Default", artifact_root=folder)
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def new_home(tmp_path_factory, tiny_world, new_catalogue, empty_tracking):
    """Return a function that makes a home, on the shared history or on a copy of its own.

    Its store of MLflow is there, without a run; `bare` leaves that to the first night.
    """

    def make(*, own_world=False, bare=False):
        path = tmp_path_factory.mktemp("home")
        if not bare:
            shutil.copyfile(empty_tracking, path / "mlflow.db")
        if own_world:
            shutil.copytree(tiny_world, path / "world")
        return Home(path, path / "world" if own_world else tiny_world, new_catalogue(path))

    return make


@pytest.fixture(scope="session")
def first_night(new_home):
    """The command `nightly`, twice, from an empty home: what it told and left, each time."""
    home = new_home(own_world=True, bare=True)
    nights = [(home.tell("nightly", "--json"), home.state()) for _ in range(2)]
    return FirstNight(home, home.copied(), *nights[0], *nights[1])


@pytest.fixture(scope="session")
def after_first_night(first_night):
    """Return a function that makes a home after its first night, with a history of its own."""
    return first_night.untouched.copied


@dataclass(frozen=True)
class FirstNight:
    """A home after its first night; later nights of other fixtures may have followed."""

    home: Home
    untouched: Home
    """A copy in which nobody works."""
    told: Told
    state: State
    told_again: Told
    state_again: State

    @property
    def summary(self):
        """What `nightly --json` printed."""
        return json.loads(self.told.out)


def save_weights(export, folder, *, mlflow_model):
    """Write a model as MLflow keeps it, weights instead of a graph: exporting one is a third of a tiny night."""
    from safetensors.torch import save_model

    folder.mkdir()
    mlflow_model.save(str(folder / "MLmodel"))
    save_model(export.module, folder / "weights.safetensors")


@pytest.fixture
def no_graphs(monkeypatch):
    """Leave the graph of a model out of MLflow in this test, as `plainly` does."""
    monkeypatch.setattr("personalgen.registry.models.save_pt2", save_weights)


@pytest.fixture(scope="session")
def plainly():
    """Return a function that runs a flow's own function over the steps themselves.

    Without Prefect's server, and without the graph of a model in MLflow unless it `exports`.
    """
    from importlib import import_module

    from prefect import Task

    def run(flow, *given, exports=False, **options):
        with pytest.MonkeyPatch.context() as patch:
            if not exports:
                patch.setattr("personalgen.registry.models.save_pt2", save_weights)
            for name in ("nightly", "retrain", "generate_only", "backfill"):
                module = import_module(f"flows.{name}")
                for step, task in vars(module).copy().items():
                    if isinstance(task, Task):
                        patch.setattr(module, step, task.fn)
            return flow.fn(*given, **options)

    return run


@pytest.fixture(scope="session")
def plain_nightly(plainly):
    """`plainly` for the nightly flow."""
    from flows.nightly import nightly

    return partial(plainly, nightly)


@pytest.fixture(scope="session")
def assert_same_state():
    """Return a function that fails where counts or newest events of two states differ, or sums by over a millionth."""
    return _assert_same_state


def _assert_same_state(one, other):
    (people, sums), (other_people, other_sums) = map(_rows_of, (one, other))
    assert people == other_people
    assert sums.keys() == other_sums.keys()
    assert list(sums.values()) == pytest.approx([other_sums[entry] for entry in sums], rel=1e-6)


def _rows_of(state):
    """Return {user: (events, newest second, newest events)} and {(user, item, side): sum} of a state."""
    people, sums = {}, {}
    for rows in state.rows():
        for k, user in enumerate(rows.users.tolist()):
            for side, own in enumerate((rows.liked, rows.disliked)):
                here = slice(own.bounds[k], own.bounds[k + 1])
                items = state.item_ids(own.item[here]).tolist()
                sums |= {(user, item, side): value for item, value in zip(items, own.value[here], strict=True)}
            here = slice(rows.recent_bounds[k], rows.recent_bounds[k + 1])
            items = state.item_ids(rows.recent.item[here]).tolist()
            newest = zip(
                items,
                (rows.recent.seconds[here] + state.landmark).tolist(),
                rows.recent.weight[here].tolist(),
                strict=True,
            )
            people[user] = (int(rows.n_events[k]), int(rows.newest[k]) + state.landmark, list(newest))
    return people, sums
