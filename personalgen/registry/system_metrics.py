"""What a night takes of its machine (CPU, memory, disk, network, GPU), as MLflow's system metrics on its run."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from personalgen.errors import ConfigError
from personalgen.registry.store import prepare_environment


@contextmanager
def system_metrics(uri: str, run_id: str, *, every_sec: float) -> Iterator[None]:
    """Log the machine's figures to a run every so many seconds, in a thread; never where `every_sec` is 0.

    A run that goes on after a kill goes on counting. What cannot be logged is MLflow's to tell, and stops nothing.

    Raises:
        ConfigError: psutil is not installed.
    """
    if not every_sec:
        yield
        return
    if importlib.util.find_spec("psutil") is None:
        raise ConfigError(
            f"store.system_metrics_sec = {every_sec:g} needs the extra `metrics`: pip install 'personalgen[metrics]'. "
            "Nothing was started."
        )
    prepare_environment()
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=every_sec, resume_logging=True, tracking_uri=uri)  # type: ignore[no-untyped-call]
    monitor.start()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        monitor.finish()  # type: ignore[no-untyped-call]
