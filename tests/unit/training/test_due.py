from dataclasses import replace

import pytest

from personalgen.errors import OptionsError
from personalgen.training.due import RetrainOptions, SinceTraining, is_due

QUIET = SinceTraining("v3", new_likes=12, likes=1000, new_items=2, days=1.5)
ALL = RetrainOptions(min_new_likes=100, min_new_share=0.1, min_new_items=10, max_days=7)


def test_without_values_every_night_trains():
    """The default is to train, and says so."""
    due = is_due(QUIET, RetrainOptions())
    assert due.train
    assert "no value of retrain is set" in due.because


def test_without_a_champion_a_night_trains():
    """There is nothing to stay with, however little is new."""
    assert is_due(None, ALL).train


def test_little_news_skips_the_training():
    """Nothing reached: the reason holds each figure beside the value it did not reach."""
    due = is_due(QUIET, ALL)
    assert not due.train
    assert due.because == (
        "since v3 was trained: 12 new likes of training people, retrain.min_new_likes is 100; 1.20% of their likes are "
        "new, retrain.min_new_share is 0.1; 2 new training items, retrain.min_new_items is 10; 1.5 days, "
        "retrain.max_days is 7"
    )


@pytest.mark.parametrize(
    ("news", "told"),
    [
        ({"new_likes": 100, "likes": 2000}, "100 new likes"),
        ({"new_likes": 10, "likes": 100}, "10.00%"),
        ({"new_items": 10}, "10 new training items"),
        ({"days": 7.0}, "7 days"),
    ],
)
def test_each_value_that_is_reached_is_a_reason(news, told):
    """One is enough, at the value itself, and it alone is told."""
    due = is_due(replace(QUIET, **news), ALL)
    assert due.train
    assert told in due.because
    assert due.because.count("retrain.") == 1


def test_a_value_that_is_not_set_counts_for_nothing():
    """Weekly trainings alone: no number of likes brings one forward."""
    assert not is_due(replace(QUIET, new_likes=10**9), RetrainOptions(max_days=7)).train


def test_what_differs_from_the_champion_trains():
    """Other settings are trained with at once, and that is the reason."""
    due = is_due(replace(QUIET, differs="v3 was trained with other settings"), ALL)
    assert (due.train, due.because) == (True, "v3 was trained with other settings")


def test_values_that_nothing_can_reach_are_refused():
    """A share above 1 and counts below 0, all in one message."""
    with pytest.raises(OptionsError, match=r"min_new_likes.*min_new_share"):
        RetrainOptions(min_new_likes=-1, min_new_share=1.5)
