import pytest

from personalgen.errors import ConfigError
from personalgen.training import TrainingOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_kimg", 0.0),
        ("batch_size", 0),
        ("threads", 0),
        ("learning_rate", -1e-4),
        ("max_minutes", -1.0),
        ("r1_gamma", -0.5),
        ("feature_weight", -1.0),
        ("condition_dropout", 1.5),
        ("augment", -0.1),
        ("snapshot_kimg", 0.0),
        ("learning_rate", float("nan")),
        ("max_kimg", float("inf")),
        ("seed", -1),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(name, value):
    """The message names section, setting and value."""
    with pytest.raises(ConfigError, match=rf"^train: {name} must .*found {value}\. .*Nothing was started"):
        TrainingOptions(**{name: value})


def test_an_unknown_precision_is_refused():
    """The message lists what there is."""
    with pytest.raises(ConfigError, match=r"precision must be one of auto, fp32, bf16, found 'fp64'"):
        TrainingOptions(precision="fp64")


def test_all_faults_are_told_at_once():
    """One message names every bad setting."""
    with pytest.raises(ConfigError, match=r"max_kimg.*; augment.*; precision"):
        TrainingOptions(max_kimg=-1, augment=2, precision="int8")
