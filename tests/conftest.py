"""What every test needs: quiet trackers, a Prefect home of its own, one thread, one Hypothesis profile."""

import atexit
import os
import shutil
import tempfile
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

# Loaded behind this file: most tests import nothing of what these make.
pytest_plugins = tuple(f"tests.fixtures.{name}" for name in ("servers", "world", "homes", "nights", "states"))

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
