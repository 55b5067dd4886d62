"""Opens MLflow's store: switches before the import, creation under a file lock, a clear error instead of retries."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from personalgen.artifacts import fsync_folder
from personalgen.errors import RegistryError
from personalgen.urls import cleaned, without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Forced: nothing is unpickled and nothing calls home. Defaults: what somebody may want louder.
_FORCED = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ALLOW_MODEL_CODE_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}
_DEFAULTS = {"MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
_CONNECT_SEC = 5.0
_SQLITE = "sqlite:///"
_ADVISORY_LOCK = 7_306_812_442
"""Any number that all versions of this program agree on, and another than the catalogue's."""


def prepare_environment() -> None:
    """Set MLflow's switches; call before every import of mlflow."""
    os.environ.update(_FORCED)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def open_client(uri: str, *, experiment: str, artifact_root: Path) -> "tuple[MlflowClient, str]":
    """Return a client of the store at `uri` and the experiment's id; both are created where they are missing.

    One process at a time: three that open a new mlflow.db at once would leave it broken, and so would two machines on a
    new database of a server.

    Raises:
        RegistryError: the store cannot be opened, or the experiment was deleted.
    """
    prepare_environment()
    _check_reachable(uri)
    try:
        with _locked(artifact_root / ".create.lock"), _locked_server(uri):
            import mlflow

            _create_whole(uri)
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            return client, _experiment_id(client, uri, name=experiment, artifact_root=artifact_root)
    except RegistryError:
        raise
    except Exception as error:  # noqa: BLE001 - the store may be any database: its driver's errors have no common root
        told = cleaned(str(error), uri)
        raise RegistryError(f"MLflow's store {without_secrets(uri)} cannot be opened: {told}. {_ADVICE}") from None


@contextmanager
def process_wide(uri: str) -> Iterator[None]:
    """Make `uri` MLflow's process-wide store for a moment: its SQL registry resolves models:/ through that one."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn MLflow's exceptions into ours; `what` says what did not happen."""
    prepare_environment()
    from mlflow import MlflowException

    try:
        yield
    except MlflowException as error:
        said = str(error).partition("\n")[0].rstrip(".")  # what follows is the statement and its values
        raise RegistryError(f"MLflow refused: {said}. {what[0].upper()}{what[1:]}.") from error


_ADVICE = "Check the tracking URI, and that its folder is writable or its server runs. Nothing was logged."


def _create_whole(uri: str) -> None:
    """Make a SQLite store where it is missing: beside its place, renamed when it is whole.

    MLflow makes one by dozens of migrations in place, and opens none of which a kill has left half.
    """
    place = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or (place.is_file() and place.stat().st_size):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.tmp")
    for left in place.parent.glob(f"{temporary.name}*"):
        left.unlink()
    store = SqlAlchemyStore(_SQLITE + str(temporary), "mlruns")  # type: ignore[no-untyped-call]
    store.engine.dispose()
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(place)
    fsync_folder(place.parent)


def _experiment_id(client: "MlflowClient", uri: str, *, name: str, artifact_root: Path) -> str:
    """Return the id of the experiment called `name`, created where it is missing."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None if uri.startswith("http") else (artifact_root / name).resolve().as_uri()
        return str(client.create_experiment(name, artifact_location=location))
    if found.lifecycle_stage != "active":
        raise RegistryError(
            f"the experiment {name!r} was deleted in MLflow. Restore it (mlflow experiments restore -x "
            f"{found.experiment_id}) or set another name. Nothing was logged."
        )
    return str(found.experiment_id)


def _check_reachable(uri: str) -> None:
    """Raise RegistryError at once where no server listens; MLflow itself retries for minutes."""
    parts = urlsplit(uri)
    default = _PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname is None or default is None:
        return
    try:
        socket.create_connection((parts.hostname, parts.port or default), timeout=_CONNECT_SEC).close()
    except OSError as error:
        raise RegistryError(f"MLflow's store {without_secrets(uri)} does not answer: {error}. {_ADVICE}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; a killed holder releases it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _locked_server(uri: str) -> Iterator[None]:
    """Hold a lock of the PostgreSQL database that MLflow keeps its tables in; the end of the session ends it."""
    if not uri.startswith("postgresql"):
        yield
        return
    import psycopg

    with psycopg.connect(f"postgresql:{uri.partition(':')[2]}", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        yield
