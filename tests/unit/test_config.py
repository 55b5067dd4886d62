import ast
import dataclasses
import importlib
from pathlib import Path
from typing import get_type_hints

import pytest

from personalgen.config import Settings, build_settings, describe, load_settings, with_values
from personalgen.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
KEYS = {name: (kind, default) for name, kind, default in describe()}

# Every setting that may change without a night becoming another night: where things are, and how fast.
WITHOUT_EFFECT = {
    "home",
    "world.folder",
    "source.url",
    "source.path",
    "source.image_root",
    "limits.chunk_rows",
    "privacy.key_file",
    "buckets.users",
    "buckets.runner",
    "buckets.workers",
    "buckets.ray_address",
    "train.device",
    "train.threads",
    "train.max_minutes",
    "train.slice_kimg",
    "train.compile",
    "train.groups_together",
    "train.gpu_busy",
    "schedule.cron",
    "schedule.catch_up",
    "schedule.crash_retries",
    "schedule.port",
    "evaluation.threads",
    "retention.nights_days",
    "retention.results_days",
    "retention.tables_days",
    "retention.quarantine_days",
    "store.catalogue_url",
    "store.catalogue_analyst_url",
    "store.sql_timeout_sec",
    "store.tracking_uri",
    "store.shard_root",
    "store.system_metrics_sec",
    "store.model_name",
    "store.time_zone",
    *(name for name in KEYS if name.startswith(("health.", "logs.", "notify."))),
}
OTHER = {
    "notify.webhook_url": "https://hooks.example.org/s3cret",
    "notify.smtp_security": "tls",
    "notify.mail_to": ["a@example.org"],
    "health.accept": ["users.volume"],
    "health.low_warn": 0.8,
    "health.low_fail": 0.2,
    **{f"health.{kind}_fail": 100.0 for kind in ("age_hours", "quarantined", "unknown_items")},
    **{f"health.{kind}_warn": 0.01 for kind in ("nulls", "quarantined", "unknown_items", "new", "weights", "taste")},
    "gate.max_lost_diversity": 0.2,
    "safety.filter": "opennsfw",
    "safety.threshold": 0.5,
    "world.name": "shapes",
    "model.resolution": 16,
    "train.device": "cuda",
    "model.group_size": 8,
    "train.batch_size": 64,
    "world.history.cold_share": 0.2,
    "world.history.dislike_share": 0.2,
    "world.history.opted_out_share": 0.2,
    "store.time_zone": "Europe/Berlin",
    "schedule.cron": "30 3 * * 1-5",
    "schedule.catch_up": "all",
    "train.gpu_busy": "share",
    "train.precision": "bf16",
    "train.condition_dropout": 0.2,
    "train.augment": 0.25,
    "evaluation.confidence": 0.9,
    "evaluation.guidances": [1.5],
    "evaluation.truncations": [0.5],
    "split.later_share": 0.4,
    "recommend.later_share": 0.4,
    "drift.min_cosine": 0.9,
    "embeddings.text": "sentences",
    "buckets.runner": "threads",
    "limits.max_quarantine_share": 0.5,
    "generation.encoder": "png/zlib",
    "generation.strengths": {"preference": 2.0},
    "condition.fields": ["labels"],
    "model.family": "dcgan",
    "model.block": "bottleneck",
    "model.conditioning": "concatenate",
    "train.compile": "on",
    "train.loss": "nonsaturating",
    "train.field_dropout": {"preference": 0.5},
    "train.r1_gamma": 3.0,
    "train.final_r1_gamma": 3.0,
    "train.least_diversity": 0.1,
    "source.columns.items.text": ["other"],
    "source.columns.items.labels": ["other"],
}


@pytest.fixture
def toml(tmp_path):
    """Return a function that writes a TOML file and returns its path."""

    def write(text):
        path = tmp_path / "a.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def load(path=None, overrides=(), **environment):
    """Return settings from a file, overrides and nothing else of this machine's environment."""
    return load_settings(path, overrides, environment=environment)


def dataclasses_of(kind):
    """Yield a dataclass and every dataclass below it."""
    yield kind
    for hint in get_type_hints(kind).values():
        if dataclasses.is_dataclass(hint):
            yield from dataclasses_of(hint)


def changed(name):
    """Return settings in which one setting has another value than its default."""
    default = KEYS[name][1]
    value = OTHER.get(name)
    if value is None:
        value = (not default) if isinstance(default, bool) else f"{default or ''}x"
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            value = default + 1
    nested = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    return build_settings(nested)


@pytest.mark.parametrize("key", ["train.field_dropout", "generation.strengths"])
def test_a_field_that_tonights_model_is_not_told_is_refused(key):
    """A misspelt field is an error that names the fields there are, before anything starts."""
    section, name = key.split(".")
    with pytest.raises(ConfigError, match=rf"{section}: {name} names prefrence, and condition.fields has preference"):
        load(None, [f"{key}.prefrence=0.5"])
    told = ["condition.fields=['preference', 'labels']", f"{key}.labels=0.5"]
    assert getattr(getattr(load(None, told), section), name) == {"labels": 0.5}


def test_nothing_given_is_the_defaults():
    """No file, no environment and no override give the dataclass as it stands."""
    assert load() == Settings()


def test_each_source_of_settings_wins_over_the_one_before(toml):
    """Defaults < TOML < environment < --set, each for its own keys only."""
    path = toml("[train]\nbatch_size = 4\nseed = 1\nmax_kimg = 1.0\n")
    read = load(path, ["train.seed=3"], PERSONALGEN_TRAIN__SEED="2", PERSONALGEN_TRAIN__MAX_KIMG="2")
    assert (read.train.batch_size, read.train.max_kimg, read.train.seed) == (4, 2.0, 3)
    assert read.train.device == Settings().train.device


def test_the_last_override_of_a_key_wins():
    """As on every command line."""
    assert load(None, ["train.seed=1", "train.seed=2"]).train.seed == 2


def test_values_are_read_as_toml_and_else_as_text():
    """Numbers, lists, booleans and quoted or bare words need no more quoting than the shell's."""
    read = load(
        None,
        [
            "train.flip=false",
            "source.columns.items.text=['a', 'b']",
            "source.name=posters of 2026",
            'train.device="cpu"',
            "train.learning_rate=1e-3",
            "source.url=sqlite:///a.db?mode=ro&x=y",
        ],
    )
    assert read.train.flip is False
    assert read.source.columns.items.text == ("a", "b")
    assert read.source.name == "posters of 2026"
    assert read.train.device == "cpu"
    assert read.train.learning_rate == 0.001
    assert read.source.url == "sqlite:///a.db?mode=ro&x=y"


def test_environment_variables_of_others_are_not_settings():
    """Only PERSONALGEN_ counts; a setting outside every section goes by its name alone."""
    assert load(None, (), PATH="/bin", HOME="/x", TRAIN__SEED="9") == Settings()
    assert load(None, (), PERSONALGEN_HOME="/x", PERSONALGEN_SNAPSHOT="y") == Settings(home="/x", snapshot="y")


def test_the_mail_password_is_no_setting():
    """It is read from the environment where a mail is sent, and stands in no settings."""
    assert load(None, (), PERSONALGEN_SMTP_PASSWORD="s3cret") == Settings()


def test_the_real_environment_is_read_when_none_is_given(monkeypatch):
    """A variable of the process reaches the settings."""
    monkeypatch.setenv("PERSONALGEN_TRAIN__SEED", "41")
    assert load_settings().train.seed == 41


def test_all_unknown_keys_are_named_at_once_with_the_nearest_known_one(toml):
    """One message for a misspelt key in a file, one from the environment, one in the wrong section, one of nonsense."""
    path = toml("[train]\nbach_size = 1\nresolution = 32\nqqqqqqqq = 1\n[trian]\nseed = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(path, (), PERSONALGEN_MODEL__Z_DIMM="1")
    message = str(caught.value)
    assert "train.bach_size is not a setting (did you mean train.batch_size?)" in message
    assert "train.resolution is not a setting (did you mean model.resolution?)" in message
    assert "trian is not a setting (did you mean train?)" in message
    assert "model.z_dimm is not a setting (did you mean model.z_dim?)" in message
    assert "train.qqqqqqqq is not a setting (known here: " in message
    assert message.endswith("Nothing was started.")


def test_all_wrong_types_are_named_at_once():
    """Each fault has its key, what was expected and what was found."""
    wrong = ["train.seed=1.5", "train.flip=perhaps", "world.history.n_users=many", "source.name=7"]
    with pytest.raises(ConfigError) as caught:
        load(None, [*wrong, "condition.fields=preference,text"])
    message = str(caught.value)
    for part in (
        "train.seed: ",
        "found 1.5",
        "train.flip: ",
        "found 'perhaps'",
        "world.history.n_users: ",
        "source.name",
        """condition.fields: expected a list such as ["one", "other"], found 'preference,text'""",
    ):
        assert part in message


def test_a_plain_value_for_a_section_is_refused():
    """`--set train=5` says that train is a section."""
    with pytest.raises(ConfigError, match="train is a section, found a value of type int"):
        load(None, ["train=5"])
    with pytest.raises(ConfigError, match=r"source\.columns\.items is a section, found a value of type str"):
        load(None, ["source.columns.items=x"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY", "https://hooks.example.org/s3cret"),
        ("STORE", "postgresql://me:s3cret@db"),
        ("NOTIFY__WEBHOOK_URL", '["https://hooks.example.org/s3cret"]'),
        ("SOURCE__URL", '["postgresql://db/shop?password=s3cret"]'),
    ],
)
def test_a_message_shows_no_value_that_may_be_a_secret(name, value):
    """A webhook's address or a URL in the wrong place, or as a list, is refused by its type alone."""
    with pytest.raises(ConfigError, match=r"found a value of type (str|list)") as refused:
        load(None, (), **{f"PERSONALGEN_{name}": value})
    assert "s3cret" not in str(refused.value)


def test_a_key_below_a_plain_value_is_refused(toml):
    """A section in the environment below a value in the file names the variable."""
    with pytest.raises(ConfigError, match="PERSONALGEN_TRAIN__SEED sets a key below 'train', which is a plain value"):
        load(toml("train = 5\n"), (), PERSONALGEN_TRAIN__SEED="1")


def test_a_value_out_of_range_is_refused_by_the_options_themselves():
    """The owner of an option checks it, and its message comes through."""
    with pytest.raises(ConfigError, match=r"model: resolution must be one of .*found 48\. Nothing was started"):
        load(None, ["model.resolution=48"])


def test_faults_of_several_sections_are_told_at_once():
    """One message for wrong types, values out of range, a zone that does not exist and a split of everything."""
    with pytest.raises(ConfigError) as caught:
        load(
            None, ["train.seed=x", "train.augment=2", "model.z_dim=0", "split.later_share=1.5", "store.time_zone=Mars"]
        )
    message = str(caught.value)
    for part in ("train.seed: ", "model: z_dim must", "split: later_share must", "store: time_zone must", "'Mars'"):
        assert part in message
    with pytest.raises(
        ConfigError, match=r"limits: chunk_rows must.*; train: augment must.*; generation: encoder must"
    ):
        load(None, ["train.augment=2", "limits.chunk_rows=0", "generation.encoder=jpeg"])


def test_stored_settings_hold_no_secret():
    """What a run folder and MLflow keep: everything else as it is."""
    secret = {
        "source": {"url": "postgresql+psycopg://me:s3cret@db/shop?password=s3cret", "image_root": "x"},
        "store": {"catalogue_url": "postgresql+psycopg://me:s3cret@db/c", "tracking_uri": "http://me:s3cret@host"},
        "notify": {"webhook_url": "https://me:s3cret@hooks.example.org/s3cret?x=s3cret"},
    }
    settings = build_settings(secret)
    public = settings.public()
    assert "s3cret" not in str(public)
    assert public["source"]["url"] == "postgresql+psycopg://me:***@db/shop"
    assert public["notify"]["webhook_url"] == "https://hooks.example.org"
    assert public["train"] == dataclasses.asdict(settings.train)
    assert build_settings({}).public() == dataclasses.asdict(Settings())


def test_a_config_that_is_a_folder_is_refused(tmp_path):
    """The message says what it is."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_batch_that_groups_do_not_divide_is_refused_before_anything_starts():
    """The rule stands between two sections."""
    with pytest.raises(ConfigError, match=r"train: batch_size must be a multiple of model\.group_size.* 4, found 30"):
        load(None, ["train.batch_size=30"])


def test_an_override_without_equals_sign_is_refused():
    """The message shows the form."""
    with pytest.raises(ConfigError, match=r"'train\.seed' is not of the form key=value"):
        load(None, ["train.seed"])


@pytest.mark.parametrize("text", ["[train\n", "a = = 1\n"])
def test_a_file_that_is_no_toml_is_refused(toml, text):
    """The message names the file and the place in it."""
    with pytest.raises(ConfigError, match=r"a\.toml is not valid TOML: .*line 1.*Nothing was started"):
        load(toml(text))


def test_a_file_of_other_bytes_is_refused(tmp_path):
    """Bytes that are no text are a ConfigError."""
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load(path)


def test_a_missing_file_is_refused(tmp_path):
    """A wrong path is told from a wrong file."""
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_shipped_configs_load(path):
    """Every file in configs/ is valid."""
    assert load(path) != Settings()


@pytest.mark.parametrize("name", sorted(KEYS))
def test_the_digest_sees_what_can_change_a_result_and_nothing_else(name):
    """Every setting but the listed places and speeds changes the digest."""
    settings = changed(name)
    assert settings != Settings()
    assert (settings.digest() == Settings().digest()) == (name in WITHOUT_EFFECT)


def test_the_digest_is_the_same_however_a_value_was_given(toml):
    """File, environment and command line give one digest for one value; 5 is 5.0 where a float is asked for."""
    ways = [
        load(toml("[train]\nmax_kimg = 5\n")),
        load(None, (), PERSONALGEN_TRAIN__MAX_KIMG="5.0"),
        load(None, ["train.max_kimg=5"]),
    ]
    assert len({settings.digest() for settings in ways}) == 1
    assert ways[0].digest() != Settings().digest()


def test_the_resolved_settings_are_enough_to_rerun():
    """What is written into a run folder builds the same settings again."""
    settings = load(None, ["train.seed=3", "source.path=x", "world.name=openmoji", "source.columns.items.labels=['a']"])
    assert build_settings(dataclasses.asdict(settings)) == settings


def test_settings_with_other_values_are_checked_like_new_ones():
    """Dotted keys win, the rest stays; what does not fit is refused."""
    settings = build_settings({"train": {"seed": 5}, "model": {"width": 32}})
    found = with_values(settings, {"train.r1_gamma": 1, "model.width": 16})
    assert (found.train.r1_gamma, found.model.width, found.train.seed) == (1.0, 16, 5)
    assert with_values(settings, {}) == settings
    with pytest.raises(ConfigError, match=r"train\.r1_gama is not a setting"):
        with_values(settings, {"train.r1_gama": 1})


def test_describe_lists_every_setting_once():
    """Dotted key, type and default of every field of every section, and no section itself."""
    count = sum(
        not dataclasses.is_dataclass(hint)
        for kind in dataclasses_of(Settings)
        for hint in get_type_hints(kind).values()
    )
    assert len(list(describe())) == len(KEYS) == count
    assert KEYS["train.batch_size"] == ("int", Settings().train.batch_size)
    assert KEYS["source.path"] == ("str | None", None)
    assert "train" not in KEYS


@pytest.mark.parametrize("kind", sorted(set(dataclasses_of(Settings)), key=str), ids=lambda kind: kind.__name__)
def test_every_setting_is_documented(kind):
    """Each field of each options class is followed by a sentence; classes are documented too."""
    tree = ast.parse(Path(importlib.import_module(kind.__module__).__file__).read_text(encoding="utf-8"))
    (body,) = [node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    after = {
        field.target.id: isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and len(text.value.value) > 9
        for field, text in zip(body, [*body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign)
    }
    undocumented = [name for name, documented in after.items() if not documented]
    sections = {name for name, hint in get_type_hints(kind).items() if dataclasses.is_dataclass(hint)}
    assert set(undocumented) - (sections if kind is Settings else set()) == set()
    assert kind.__doc__


def test_places_lie_below_home(tmp_path):
    """Relative paths, the catalogue and the tracker are below home unless they are given."""
    settings = build_settings({"home": str(tmp_path)})
    assert settings.root == tmp_path
    assert settings.under_home("data/x") == tmp_path / "data" / "x"
    assert settings.under_home("/y") == Path("/y")
    assert settings.catalogue_url == f"sqlite:///{tmp_path}/data/catalogue.db"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    given = build_settings({"store": {"catalogue_url": "postgresql+psycopg://h/d", "tracking_uri": "http://m"}})
    assert (given.catalogue_url, given.tracking_uri) == ("postgresql+psycopg://h/d", "http://m")


def test_settings_cannot_be_changed():
    """Nobody changes a setting after it was checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().home = "elsewhere"
