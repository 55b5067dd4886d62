import os
import socket
import subprocess
import sys

import pytest

from personalgen.errors import RegistryError
from personalgen.registry.store import open_client, prepare_environment


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "http"])
def test_a_server_that_is_not_there_is_an_error_at_once(tmp_path, scheme):
    """MLflow alone would retry for minutes; the message says where and hides the password."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(RegistryError, match="does not answer") as caught:
        open_client(f"{scheme}://me:s3cret@127.0.0.1:{port}/x", experiment="e", artifact_root=tmp_path)
    assert "s3cret" not in str(caught.value)
    assert str(port) in str(caught.value)


def test_pickle_stays_refused_whatever_the_environment_says(monkeypatch):
    """The switches that guard against code in a model are forced; loudness is the user's."""
    for name in ("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL"):
        monkeypatch.setenv(name, {"MLFLOW_LOGGING_LEVEL": "DEBUG"}.get(name, "loud"))
    prepare_environment()
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_LOGGING_LEVEL"] == "DEBUG"


def test_importing_the_registry_does_not_import_mlflow():
    """MLflow costs seconds: it is loaded by the first use, and the gate needs neither it nor torch."""
    code = (
        "import sys, personalgen.registry.promotion, personalgen.registry.tracking\n"
        "assert 'torch' not in sys.modules\n"
        "import personalgen.registry.models\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
