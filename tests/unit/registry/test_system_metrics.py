import importlib.util
import time

import pytest

from personalgen.errors import ConfigError
from personalgen.registry.system_metrics import system_metrics
from personalgen.registry.tracking import Tracking


@pytest.fixture
def tracking(tmp_path):
    return Tracking(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts", "nightly")


def test_the_machine_is_on_the_run(tracking):
    """CPU and memory are logged while the block runs, and go on from where they stood."""
    with tracking.parent_run("key") as run:
        for _ in range(2):
            with system_metrics(tracking.uri, run.run_id, every_sec=0.05):
                time.sleep(0.4)
        history = tracking.client.get_metric_history(run.run_id, "system/cpu_utilization_percentage")
    steps = [metric.step for metric in history]
    assert len(steps) >= 2
    assert len(set(steps)) == len(steps)
    assert "system/system_memory_usage_megabytes" in tracking.client.get_run(run.run_id).data.metrics


def test_nothing_is_logged_unless_asked_for(tracking):
    """0 starts no thread."""
    with tracking.parent_run("key") as run, system_metrics(tracking.uri, run.run_id, every_sec=0):
        pass
    assert tracking.client.get_run(run.run_id).data.metrics == {}


def test_a_missing_psutil_is_said_before_anything_runs(monkeypatch):
    """The message names the extra."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"personalgen\[metrics\]"), system_metrics("x", "y", every_sec=5):
        pass
