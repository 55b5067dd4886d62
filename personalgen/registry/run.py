"""One MLflow run as stages see it: parameters, metrics, images and files under a run id, from any thread or process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import canonical_json
from personalgen.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

T = TypeVar("T")
Clock = Callable[[], float]

# MLflow's own limits.
_PARAMS_PER_BATCH = 100
_METRICS_PER_BATCH = 1000
_KEY_CHARS = 250
_PARAM_CHARS = 6000
_TAG_CHARS = 8000
_DIGEST_CHARS = 36

_FLUSH_METRICS = 500
_FLUSH_SEC = 5.0


class Run:
    """An open run. Metrics are buffered for a few seconds: a batch costs as much as a single one (4 ms)."""

    def __init__(self, client: "MlflowClient", run_id: str, *, clock: Clock) -> None:
        self.client = client
        self.run_id = run_id
        self._clock = clock
        self._metrics: list[Metric] = []
        self._flushed_at = clock()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log a nested mapping or dataclasses under dotted names; values longer than MLflow's limit are cut.

        MLflow's parameters never change. Where a rerun finds another value, the first one stands and the new one
        becomes the tag `rerun.<name>`.
        """
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        flat = {key[:_KEY_CHARS]: value[:_PARAM_CHARS] for key, value in flatten(params)}
        new = [Param(key, value) for key, value in flat.items() if key not in known]
        for batch in _batches(new, _PARAMS_PER_BATCH):
            self.client.log_batch(self.run_id, params=batch)
        self.set_tags({f"rerun.{key}": value for key, value in flat.items() if known.get(key, value) != value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; values are cut at MLflow's limit."""
        from mlflow.entities import RunTag

        made = [RunTag(key[:_KEY_CHARS], str(value)[:_TAG_CHARS]) for key, value in tags.items()]
        for batch in _batches(made, _PARAMS_PER_BATCH):
            self.client.log_batch(self.run_id, tags=batch)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Buffer metrics of one step; they are written when many or old, by `flush`, and at the run's end."""
        from mlflow.entities import Metric

        now = self._clock()
        self._metrics += [Metric(key, float(value), int(now * 1000), step) for key, value in metrics.items()]
        if len(self._metrics) >= _FLUSH_METRICS or now - self._flushed_at >= _FLUSH_SEC:
            self.flush()

    def flush(self) -> None:
        """Write buffered metrics."""
        self._flushed_at = self._clock()
        waiting, self._metrics = self._metrics, []
        for batch in _batches(waiting, _METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=batch)

    def log_image(self, image: NDArray[np.uint8], *, key: str, step: int = 0) -> None:
        """Log an (H, W, 3) uint8 image under `key`, shown over steps in MLflow's interface.

        Raises:
            RegistryError: the array has another shape or dtype.
        """
        if image.dtype != np.uint8 or image.ndim != 3:
            raise RegistryError(
                f"image {key!r} is {image.shape} {image.dtype}, expected (H, W, 3) uint8. It was not logged."
            )
        self.client.log_image(
            self.run_id, image, key=key, step=step, timestamp=int(self._clock() * 1000), synchronous=True
        )

    def log_artifact(self, path: Path, *, folder: str | None = None) -> None:
        """Copy a file, or a folder's content, to the run's artifacts, below `folder` where given."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        log(self.run_id, str(path), folder)

    def log_dict(self, value: Any, *, name: str) -> None:
        """Log a JSON-like value as the artifact `name` (.json or .yaml)."""
        self.client.log_dict(self.run_id, value, name)

    def log_input(self, name: str, *, digest: str, source: str, context: str) -> None:
        """Record that a data set (its name, content digest and place) was used for `context`, for example training."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data_set = Dataset(
            name=name, digest=digest[:_DIGEST_CHARS], source_type="local", source=canonical_json({"uri": source})
        )
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(data_set, tags)])


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and texts of a nested mapping or dataclass; sequences become JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, canonical_json(value) if isinstance(value, (list, tuple)) else str(value)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield `items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
