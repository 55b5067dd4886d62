import pytest

from personalgen.errors import ConfigError
from personalgen.training import TrainingOptions
from personalgen.training.options import batch_fault


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_kimg", 0.0),
        ("batch_size", 0),
        ("threads", 0),
        ("learning_rate", -1e-4),
        ("max_minutes", -1.0),
        ("r1_gamma", -0.5),
        ("final_r1_gamma", -0.5),
        ("penalty_every", 0),
        ("feature_weight", -1.0),
        ("wrong_fake_weight", -1.0),
        ("contrast_weight", -1.0),
        ("match_weight", -1.0),
        ("kl_weight", -1.0),
        ("kl_warmup_kimg", -1.0),
        ("candidates", -1),
        ("condition_dropout", 1.5),
        ("condition_ramp_kimg", -1.0),
        ("user_mixup", 1.5),
        ("history_dropout", -0.1),
        ("augment", -0.1),
        ("augment_ramp_kimg", -1.0),
        ("snapshot_kimg", 0.0),
        ("max_rollbacks", -1),
        ("least_diversity", 2.0),
        ("learning_rate", float("nan")),
        ("max_kimg", float("inf")),
        ("seed", -1),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(name, value):
    """The message names section, setting and value."""
    with pytest.raises(ConfigError, match=rf"^train: {name} must .*found {value}\. .*Nothing was started"):
        TrainingOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "there_is", "value"),
    [
        ("precision", "auto, fp32, bf16", "fp64"),
        ("compile", "auto, off, on, graphs", "always"),
        ("loss", "relativistic, nonsaturating", "hinge"),
    ],
)
def test_an_unknown_choice_is_refused(name, there_is, value):
    """The message lists what there is."""
    with pytest.raises(ConfigError, match=rf"{name} must be one of {there_is}, found '{value}'"):
        TrainingOptions(**{name: value})


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:one", "mps"])
def test_an_unknown_kind_of_device_is_refused_with_the_settings(device):
    """Before anything is prepared; whether the GPU is there is seen where it is needed."""
    with pytest.raises(ConfigError, match=f'device must be "auto", "cpu", "cuda" or .* found {device!r}'):
        TrainingOptions(device=device)
    assert TrainingOptions(device="cuda:3").device == "cuda:3"


def test_a_fields_dropout_is_a_share():
    """The message names the field."""
    with pytest.raises(ConfigError, match=r"train: field_dropout\.taste must be in \[0, 1\], found 1\.5"):
        TrainingOptions(field_dropout={"taste": 1.5, "text": 0.5})


def test_what_is_decided_by_the_data_may_be_left_open():
    """Gammas and augmentation have no value of their own by default, and zero is a value."""
    open_, zero = TrainingOptions(), TrainingOptions(r1_gamma=0, final_r1_gamma=0, augment=0)
    assert (open_.r1_gamma, open_.final_r1_gamma, open_.augment) == (None, None, None)
    assert (zero.r1_gamma, zero.final_r1_gamma, zero.augment) == (0, 0, 0)


def test_all_faults_are_told_at_once():
    """One message names every bad setting."""
    with pytest.raises(ConfigError, match=r"max_kimg.*; augment.*; precision.*; field_dropout"):
        TrainingOptions(max_kimg=-1, augment=2, precision="int8", field_dropout={"taste": -1})


def test_groups_must_divide_a_batch():
    """Eight images are two groups of four; ten are not whole groups."""
    assert batch_fault(8, 4) is None
    assert batch_fault(10, 4) == "batch_size must be a multiple of model.group_size, which is 4, found 10"
