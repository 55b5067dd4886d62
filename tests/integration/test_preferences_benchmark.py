"""The benchmarks of recommenders, conditions and bases: their planted table, and that they run at toy size."""

import json

import numpy as np
import pytest

from benchmarks import conditions, preferences, rebase
from benchmarks.list_like import ListLike, planted
from personalgen.recommenders.next_item import LinearNextItem


def test_the_planted_table_is_a_history():
    """Times are sorted, nobody likes an item twice, everybody likes at least 20; the same seed gives the same table."""
    options = ListLike(n_users=50, n_items=300, n_topics=6)
    found = planted(options)
    history, content = found.history, found.content
    steps = np.diff(history.timestamp)
    assert (np.diff(history.user_index) >= 0).all()
    assert (steps[np.diff(history.user_index) == 0] >= 0).all()
    pairs = history.user_index * 300 + history.item_index
    assert len(np.unique(pairs)) == len(pairs)
    assert np.diff(history.bounds).min() >= 20
    assert content.shape == (300, 64)
    assert np.array_equal(planted(options).history.item_index, history.item_index)


def test_all_models_run_at_toy_size(tmp_path, capsys):
    """A row each with finite figures, and the next-item model above ALS on the planted table."""
    assert preferences.main(["--quick", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert all(np.isfinite(value) for value in found.values())
    assert found["next-item_ndcg_at_10_over_als"] > 1
    gain = found["next-item_ndcg_at_10"] / found["als_ndcg_at_10"]
    assert found["next-item_ndcg_at_10_over_als"] == pytest.approx(gain)
    told = capsys.readouterr().out
    assert "200 people, 300 items" in told
    assert all(name in told for name in ("popular-7-days", "sequence", "next-item, one scale"))


def test_cold_items_are_not_known(monkeypatch):
    """No model is fitted on a like of an item that is held out as new."""
    fitted = []

    class Watched(LinearNextItem):
        def fit(self, history):
            fitted.append(set(history.item_index.tolist()))
            return super().fit(history)

    found = planted(ListLike(n_users=60, n_items=200, n_topics=4))
    data = preferences.Data(found.history, found.content)
    preferences.measured(Watched, data)
    cold = set(np.flatnonzero(data.cold).tolist())
    assert [bool(items & cold) for items in fitted] == [True, False, True]


def test_a_probe_finds_what_is_there():
    """A taste that is a linear function of the condition is found; one that is not, is not."""
    rng = np.random.default_rng(0)
    rows, map_ = rng.normal(size=(400, 8)), rng.normal(size=(8, 5))
    assert conditions.probed(rows, rows @ map_ + 3).mean() > 0.99
    assert abs(conditions.probed(rows, rng.normal(size=(400, 5))).mean()) < 0.15


def test_conditions_are_probed_at_toy_size(tmp_path, capsys):
    """A row for each condition, with all likes and with some of the newest; the preference tells of the taste."""
    assert conditions.main(["--quick", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 3 * 18 * 2
    assert found["all likes_preference_cosine"] > 0.3
    assert "preference + expected" in capsys.readouterr().out


def test_a_basis_is_turned_at_toy_size(tmp_path, capsys):
    """Cosines of unchanged people for each part, with and without turning; a tenth more events."""
    assert rebase.main(["--quick", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 1 + 4 * 2
    assert 0.05 < found["more_events_over_events"] < 0.2
    assert found["preference_cosine_turned"] > 0.8
    assert "collaborative" in capsys.readouterr().out
