"""The settings of a run: defaults < TOML < environment < command line, every fault collected before anything starts.

Options live as frozen dataclasses beside the code that owns them; this module builds and checks them and is the only
user of pydantic. `PERSONALGEN_TRAIN__BATCH_SIZE=16` sets train.batch_size, `PERSONALGEN_HOME=/srv/personalgen` home.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints
from zoneinfo import available_timezones

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from personalgen.artifacts import digest_of
from personalgen.bounds import check_options
from personalgen.catalogue.query_policy import TIMEOUT_SEC
from personalgen.catalogue.retention import RetentionOptions
from personalgen.embeddings.drift import DriftOptions
from personalgen.embeddings.fields import ConditionOptions
from personalgen.embeddings.options import EmbeddingOptions
from personalgen.errors import ConfigError, OptionsError
from personalgen.evaluation.options import EvaluationOptions, ScoreOptions
from personalgen.generation.options import GenerationOptions
from personalgen.generation.safety import SafetyOptions
from personalgen.journal.options import LogOptions, NotifyOptions
from personalgen.models.options import ModelOptions
from personalgen.option_values import put_value, read_values
from personalgen.recommenders import NextItemOptions, RecommendOptions
from personalgen.registry.promotion import GateOptions
from personalgen.schedule import ScheduleOptions
from personalgen.tables.health import HealthOptions
from personalgen.tables.options import LimitsOptions, PrivacyOptions, SourceOptions
from personalgen.training.due import RetrainOptions
from personalgen.training.options import WITHOUT_EFFECT, TrainingOptions, batch_fault
from personalgen.urls import origin, without_secrets
from personalgen.worlds import WORLDS, HistoryOptions


@dataclass(frozen=True)
class WorldOptions:
    """A simulated history that the night writes for itself when it is not there yet."""

    name: str = ""
    """"openmoji", "shapes", "faces" or "landscapes"; empty means that the source is real and nothing is simulated."""
    folder: str = "data/demo"
    """Where history.db and images/ are written, relative to home."""
    history: HistoryOptions = field(default_factory=HistoryOptions)
    """Size of the simulated history."""

    def __post_init__(self) -> None:
        """Refuse a world that there is not."""
        check_options("world", self, choices={"name": ("", *sorted(WORLDS))})


@dataclass(frozen=True)
class SplitOptions:
    """What is held out of training. Items and users are split by the hash of their ids, fixed for ever."""

    later_share: float = 0.3
    """Last share of each user's events that training never sees."""
    hold_out_users: bool = True
    """Whether users of the judge and test split are kept out of training and are the only ones evaluated; False trains
    on everybody, for a model that other people will judge."""

    def __post_init__(self) -> None:
        """Refuse a split that leaves nothing to learn, or nothing to judge by."""
        fault = f"later_share must be above 0 and below 1, found {self.later_share}"
        check_options("split", self, more=[] if 0 < self.later_share < 1 else [fault])


RUNNERS = ("here", "threads", "processes", "ray")


@dataclass(frozen=True)
class BucketOptions:
    """Users are worked on in buckets; where that is done changes no result."""

    users: int = 20_000
    """Users of a bucket, about: one bucket is in memory at a time in each worker."""
    runner: str = "here"
    """"here": one after another in the night's own process; "threads" or "processes" of this machine; "ray": a cluster
    that sees the same files (extra `ray`)."""
    workers: int = 2
    """Buckets worked on at a time by threads or processes."""
    ray_address: str = ""
    """Ray's address; empty starts Ray on this machine."""

    def __post_init__(self) -> None:
        """Refuse what no runner can do, all in one message."""
        check_options("buckets", self, least={"users": 1, "workers": 1}, choices={"runner": RUNNERS})


@dataclass(frozen=True)
class StoreOptions:
    """Where things are kept. A relative SQLite URL is relative to the working directory."""

    catalogue_url: str = ""
    """SQLAlchemy URL of the catalogue; empty means home/data/catalogue.db."""
    catalogue_analyst_url: str = ""
    """For `assets sql`: the same PostgreSQL as a role that reads the views alone (`personalgen catalogue
    grant-analyst`); empty means catalogue_url, which is right for SQLite."""
    sql_timeout_sec: float = TIMEOUT_SEC
    """After how many seconds a query of `assets sql` is cut."""
    tracking_uri: str = ""
    """MLflow's tracking and registry URI; empty means home/mlflow.db."""
    shard_root: str = ""
    """Where images lie: a folder (relative ones below home/data) or a URL of fsspec's such as s3://bucket/prefix (extra
    `s3`), whose credentials come from the environment; empty means home/data."""
    model_name: str = "personalgen-gan"
    """Name of the registered model."""
    system_metrics_sec: float = 0.0
    """How often the machine's figures (CPU, memory, GPU …) go to the night's MLflow run; 0 is never (extra
    `metrics`)."""
    time_zone: str = "UTC"
    """Zone in which `as_of` becomes the night's day."""

    def __post_init__(self) -> None:
        """Refuse a zone that nobody knows, and a query that has no time."""
        fault = f"time_zone must be an IANA name such as Europe/Berlin, found {self.time_zone!r}"
        known = self.time_zone in available_timezones()
        least = {"system_metrics_sec": 0}
        check_options("store", self, least=least, above={"sql_timeout_sec": 0}, more=[] if known else [fault])


@dataclass(frozen=True)
class Settings:
    """Everything a night needs to know; the resolved form is written into the run folder, without secrets."""

    home: str = "."
    """Root of everything that is written: mlflow.db and data/. Relative to the working directory."""
    world: WorldOptions = field(default_factory=WorldOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    privacy: PrivacyOptions = field(default_factory=PrivacyOptions)
    limits: LimitsOptions = field(default_factory=LimitsOptions)
    health: HealthOptions = field(default_factory=HealthOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    embeddings: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    condition: ConditionOptions = field(default_factory=ConditionOptions)
    drift: DriftOptions = field(default_factory=DriftOptions)
    recommender: NextItemOptions = field(default_factory=NextItemOptions)
    recommend: RecommendOptions = field(default_factory=RecommendOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    train: TrainingOptions = field(default_factory=TrainingOptions)
    retrain: RetrainOptions = field(default_factory=RetrainOptions)
    snapshot: str = ""
    """Folder of a trained generator to start from where there is no champion yet; empty means from scratch."""
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    safety: SafetyOptions = field(default_factory=SafetyOptions)
    score: ScoreOptions = field(default_factory=ScoreOptions)
    buckets: BucketOptions = field(default_factory=BucketOptions)
    store: StoreOptions = field(default_factory=StoreOptions)
    retention: RetentionOptions = field(default_factory=RetentionOptions)
    logs: LogOptions = field(default_factory=LogOptions)
    notify: NotifyOptions = field(default_factory=NotifyOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)

    def __post_init__(self) -> None:
        """Refuse sections that do not fit each other."""
        if fault := batch_fault(self.train.batch_size, self.model.group_size):
            raise OptionsError("train", (fault,))
        for section, name in (("train", "field_dropout"), ("generation", "strengths")):
            known, given = self.condition.fields, getattr(getattr(self, section), name)
            if unknown := [key for key in given if key not in known]:
                fault = f"{name} names {', '.join(unknown)}, and condition.fields has {', '.join(known) or 'none'}"
                raise OptionsError(section, (fault,))

    @property
    def root(self) -> Path:
        """Absolute home."""
        return Path(self.home).resolve()

    def under_home(self, path: str) -> Path:
        """Return `path`, relative ones below home."""
        return self.root / path

    @property
    def catalogue_url(self) -> str:
        """SQLAlchemy URL of the catalogue."""
        return self.store.catalogue_url or f"sqlite:///{self.root / 'data' / 'catalogue.db'}"

    @property
    def analyst_url(self) -> str:
        """SQLAlchemy URL of the catalogue for analysts' queries."""
        return self.store.catalogue_analyst_url or self.catalogue_url

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking and registry URI."""
        return self.store.tracking_uri or f"sqlite:///{self.root / 'mlflow.db'}"

    def public(self) -> dict[str, Any]:
        """Return the resolved settings as they may be stored and shown: URLs without passwords and queries."""
        value = asdict(self)
        for section, name in _URLS:
            value[section][name] = without_secrets(value[section][name] or "") or value[section][name]
        value["notify"]["webhook_url"] = origin(self.notify.webhook_url)
        return value

    def digest(self) -> str:
        """Return 32 hex digits of all that can change a night's result; places and speed are left out."""
        value = asdict(self)
        for section, names in _LEFT_OUT.items():
            for name in names:
                (value[section] if section else value).pop(name)
        return digest_of(value)


_URLS = (
    ("source", "url"),
    ("store", "catalogue_url"),
    ("store", "catalogue_analyst_url"),
    ("store", "tracking_uri"),
    ("store", "shard_root"),
    ("buckets", "ray_address"),
)
"""Settings that may hold a password."""
_SECRET = (*_URLS, ("notify", "webhook_url"))
"""Settings whose values no message shows."""

_LEFT_OUT: dict[str, tuple[str, ...]] = {
    "": ("home", "store", "buckets", "retention", "health", "logs", "notify", "schedule"),
    "world": ("folder",),
    "train": WITHOUT_EFFECT,
    "evaluation": ("threads",),
    "limits": ("chunk_rows",),
    "source": ("url", "path", "image_root"),
    "privacy": ("key_file",),
}


def load_settings(
    path: Path | None = None, overrides: Sequence[str] = (), *, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings of a TOML file, the environment and `key=value` overrides, the later winning.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; all faults in one message.
    """
    return build_settings(read_values(path, overrides, environment=environment))


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with other values of some dotted keys.

    Raises:
        ConfigError: a key is unknown or a value does not fit.
    """
    merged = asdict(settings)
    for key, value in values.items():
        put_value(merged, key.split("."), value, where=key)
    return build_settings(merged)


def build_settings(values: Mapping[str, Any]) -> Settings:
    """Return the settings of a nested mapping.

    Raises:
        ConfigError: naming every unknown key, with the nearest known one, and every bad value.
    """
    faults = list(_unknown_keys(values, Settings))
    if faults:
        raise ConfigError("; ".join(faults) + ". Nothing was started.")
    try:
        return TypeAdapter(Settings).validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError("; ".join(map(_fault, error.errors())) + ". Nothing was started.") from None


def describe(kind: type = Settings, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield (dotted key, type, default) of every setting."""
    hints = get_type_hints(kind)
    for entry in fields(kind):
        name, hint = f"{prefix}{entry.name}", hints[entry.name]
        if is_dataclass(hint) and isinstance(hint, type):
            yield from describe(hint, f"{name}.")
        else:
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            yield name, getattr(hint, "__name__", str(hint)), default


def _unknown_keys(values: Mapping[str, Any], kind: type, prefix: str = "") -> Iterator[str]:
    """Yield a sentence for each key that `kind` does not have."""
    hints = get_type_hints(kind)
    known = [entry.name for entry in fields(kind)]
    for key, value in values.items():
        if key not in known:
            yield f"{prefix}{key} is not a setting{_nearest(key, prefix, known)}"
        elif is_dataclass(hints[key]) and isinstance(hints[key], type):
            if isinstance(value, Mapping):
                yield from _unknown_keys(value, hints[key], f"{prefix}{key}.")
            else:
                yield f"{prefix}{key} is a section, found a value of type {type(value).__name__}"


def _fault(detail: ErrorDetails) -> str:
    """Return what pydantic, or the options themselves, found wrong with one value or section."""
    refused = detail.get("ctx", {}).get("error")
    if isinstance(refused, OptionsError):
        return f"{refused.section}: {', '.join(refused.faults)}"
    asked = 'expected a list such as ["one", "other"]' if detail["type"] == "tuple_type" else detail["msg"]
    place, value = detail["loc"], detail["input"]
    told = f"a value of type {type(value).__name__}" if place[:2] in _SECRET else without_secrets(repr(value))
    return f"{'.'.join(map(str, place))}: {asked}, found {told}"


def _nearest(key: str, prefix: str, known: Sequence[str]) -> str:
    """Return a hint at the nearest key, here or in any section."""
    everywhere = {name.rpartition(".")[2]: name for name, _, _ in describe()}
    close = [] if key in everywhere else difflib.get_close_matches(key, known, n=1)
    if close:
        return f" (did you mean {prefix}{close[0]}?)"
    close = difflib.get_close_matches(key, list(everywhere), n=1)
    return f" (did you mean {everywhere[close[0]]}?)" if close else f" (known here: {', '.join(known)})"
