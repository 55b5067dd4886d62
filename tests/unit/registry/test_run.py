from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from personalgen.errors import RegistryError
from personalgen.registry.run import Run, flatten


@dataclass(frozen=True)
class Options:
    size: int = 3
    widths: tuple[int, ...] = (1, 2)


class FakeClient:
    """Remembers what it was asked to log."""

    def __init__(self, params=None):
        self.params, self.batches = dict(params or {}), []

    def get_run(self, run_id):
        return SimpleNamespace(data=SimpleNamespace(params=self.params))

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        self.batches.append((list(metrics), list(params), list(tags)))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def metrics_of(client):
    return [
        (metric.key, metric.value, metric.step, metric.timestamp) for batch, _, _ in client.batches for metric in batch
    ]


def test_nested_options_become_dotted_names():
    """Dataclasses and mappings are opened, sequences stay one value."""
    found = dict(flatten({"train": Options(), "a": {"b": None, "c": True}, "flat": 0.5}))
    assert found == {"train.size": "3", "train.widths": "[1,2]", "a.b": "None", "a.c": "True", "flat": "0.5"}


def test_parameters_go_in_batches_and_are_cut(clock):
    """At most 100 a batch, 6000 characters a value: MLflow's limits."""
    client = FakeClient()
    Run(client, "r", clock=clock).log_params({f"k{n}": "x" * 9000 for n in range(250)})
    assert [len(params) for _, params, _ in client.batches] == [100, 100, 50]
    assert {len(param.value) for _, params, _ in client.batches for param in params} == {6000}


def test_a_rerun_logs_no_parameter_twice(clock):
    """What is known stays; another value becomes a tag, because MLflow would refuse it."""
    client = FakeClient({"a": "1", "b": "2"})
    Run(client, "r", clock=clock).log_params({"a": 1, "b": 3, "c": 4})
    logged = [(param.key, param.value) for _, params, _ in client.batches for param in params]
    tags = [(tag.key, tag.value) for _, _, made in client.batches for tag in made]
    assert (logged, tags) == ([("c", "4")], [("rerun.b", "3")])


def test_metrics_wait_for_a_few_seconds(clock):
    """Many metrics, few writes, each with its own step and time."""
    client = FakeClient()
    run = Run(client, "r", clock=clock)
    run.log_metrics({"loss": 1}, step=1)
    clock.now = 104.9
    run.log_metrics({"loss": 2}, step=2)
    assert client.batches == []
    clock.now = 105.0
    run.log_metrics({"loss": 3}, step=3)
    assert metrics_of(client) == [("loss", 1.0, 1, 100000), ("loss", 2.0, 2, 104900), ("loss", 3.0, 3, 105000)]
    assert len(client.batches) == 1


def test_many_metrics_do_not_wait(clock):
    """A full buffer is written at once, and nothing twice."""
    client = FakeClient()
    run = Run(client, "r", clock=clock)
    for step in range(600):
        run.log_metrics({"loss": step}, step=step)
    assert len(metrics_of(client)) == 500
    run.flush()
    run.flush()
    assert [step for _, _, step, _ in metrics_of(client)] == list(range(600))


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4), dtype=np.uint8)])
def test_only_uint8_images_are_logged(clock, image):
    """A float image would be rescaled by MLflow without a word."""
    with pytest.raises(RegistryError, match="uint8"):
        Run(FakeClient(), "r", clock=clock).log_image(image, key="grid")
