"""What a sweep combines and tells, before and after anything is trained."""

import pytest

from personalgen.cli.training import sweep_text
from personalgen.config import build_settings, load_settings
from personalgen.errors import ConfigError
from personalgen.steps import Swept
from personalgen.steps.sweep import combinations, combined


def test_every_value_meets_every_other():
    """In the order they are given, the last key varying fastest; each value counts once."""
    found = combined(["train.r1_gamma=0.5,1,1", "train.learning_rate=1e-3, 2e-3"])
    assert found == [
        {"train.r1_gamma": gamma, "train.learning_rate": rate} for gamma in (0.5, 1) for rate in (1e-3, 2e-3)
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("train.loss=relativistic,nonsaturating", ["relativistic", "nonsaturating"]),
        ('train.loss="relativistic"', ["relativistic"]),
        ("train.flip=true,false", [True, False]),
        ("train.r1_gamma=0.5, 1e-7", [0.5, 1e-7]),
        ("train.field_dropout={preference = 0.1}, {preference = 0.2}", [{"preference": 0.1}, {"preference": 0.2}]),
    ],
)
def test_values_are_read_as_set_reads_them(text, values):
    """Numbers, words with and without quotes, booleans and tables; and `--set` reads back what is printed."""
    assert [next(iter(each.values())) for each in combined([text])] == values
    for combination in combinations(build_settings({}), [text]):
        assert load_settings(None, combination.pairs, environment={}) == combination.settings


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ([], "needs at least one --over"),
        (["train.r1_gamma"], "not of the form key=value,value"),
        (["train.r1_gamma="], "not of the form key=value,value"),
        (["gate.min_gain=1,2"], r"gate\.min_gain cannot be swept: only train\.\* and model\.\* can"),
        (["home=a,b"], "home cannot be swept"),
        (["train.max_minutes=1,2"], "train.max_minutes cannot be swept: it ends a run"),
        (["model.resolution=16,32"], "model.resolution cannot be swept: tonight's pictures are prepared at one size"),
        (["train.seed=1", "train.seed=2"], "train.seed is given twice"),
        (["train.r1_gama=1,2"], r"did you mean train\.r1_gamma"),
        (["train.batch_size=6,8"], "batch_size must be a multiple"),
        (["train.augment=2"], "augment must be in"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_the_reason(over, says):
    """Other sections, what changes no result, misspelt keys and bad values."""
    with pytest.raises(ConfigError, match=says):
        combinations(build_settings({}), over)


def test_all_faults_are_told_at_once():
    """One message names every key that cannot be swept."""
    with pytest.raises(ConfigError) as caught:
        combined(["home=1", "gate.min_gain=2", "train.seed"])
    assert all(word in str(caught.value) for word in ("home", "gate.min_gain", "train.seed", "Nothing was started"))


def test_a_combination_has_a_name_of_its_own():
    """Other values, or other settings around them, are another training; the same ones are the same."""
    plain, seeded = build_settings({}), build_settings({"train": {"seed": 3}})
    over = ["train.r1_gamma=0.5,1", "train.compile=auto,off"]
    keys = [each.key for settings in (plain, seeded) for each in combinations(settings, over)]
    assert len(set(keys)) == 8
    assert [each.key for each in combinations(plain, over)] == keys[:4]
    assert combinations(plain, ["train.r1_gamma=3"])[0].settings.train.r1_gamma == 3.0


def swept(value, **figures):
    """Return one row of a sweep."""
    return Swept({"train.r1_gamma": value}, [f"train.r1_gamma={value}"], 5.0, figures)


def test_the_best_one_is_told_with_how_to_use_it():
    """Its KID with interval and floor, and the night's command with its settings."""
    kid = {"kid": 0.35, "kid_low": 0.3, "kid_high": 0.4, "kid_floor": 0.05}
    text = sweep_text([swept(1, **kid), swept(2)], " --config a.toml")
    assert "Best: train.r1_gamma=1, KID 0.35 [0.3, 0.4]; real against real 0.05." in text
    assert text.endswith("  personalgen nightly --config a.toml --set train.r1_gamma=1")


def test_a_sweep_without_figures_says_why_once():
    """Nothing is called the best; rows with the same reason are told together."""
    rows = [Swept({}, [f"train.seed={k}"], 0.0, note="too few people") for k in (1, 2)]
    assert sweep_text(rows, "").strip() == "train.seed=1; train.seed=2: too few people"
