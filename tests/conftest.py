"""What every test needs: quiet trackers, a Prefect home of its own, one thread, one Hypothesis profile."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before anything imports mlflow or prefect: both read these once.
_HOME = Path(tempfile.mkdtemp(prefix="personalgen-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "MLFLOW_ALLOW_MODEL_CODE_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "Agg",
        "PREFECT_HOME": str(_HOME / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
)

import torch  # noqa: E402 - after the environment is set
from hypothesis import HealthCheck, settings  # noqa: E402 - likewise

torch.set_num_threads(1)  # on two cores shared with anything else, more threads are slower and change the last bits

settings.register_profile(
    "house",
    deadline=None,  # a loaded machine is not a bug
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")
