import numpy as np
import pytest

from personalgen.evaluation import recommendation
from personalgen.evaluation.held_out_likes import last_like_out
from personalgen.evaluation.recommendation import foretell
from personalgen.histories import History
from personalgen.recommenders.popularity import Popularity

N_ITEMS = 12


class Oracle:
    """Knows that everybody's last like is the item after the one before."""

    def __init__(self, history):
        self.item_ids = history.item_ids

    def scores(self, history):
        """Return 1 for the next item on the circle."""
        found = np.zeros((len(history.user_ids), N_ITEMS), dtype=np.float32)
        for user in range(len(history.user_ids)):
            own = history.item_index[history.user_index == user]
            found[user, (own[-1] + 1) % N_ITEMS] = 1
        return found


def circle(lengths):
    """Return people who go round the items, one a day, from anywhere."""
    rows = [(user, (3 * user + day) % N_ITEMS, day) for user, n in enumerate(lengths) for day in range(n)]
    user, item, day = np.array(rows).T
    ids = tuple(f"u{k:02d}" for k in range(len(lengths))), tuple(f"i{k:02d}" for k in range(N_ITEMS))
    return History(*ids, user, item, day * 86_400, np.ones(len(rows), dtype=np.float32))


@pytest.fixture
def found():
    """Return what an oracle and popularity foretell of thirty people with one to eleven likes."""
    task = last_like_out(circle([k % 10 + 2 for k in range(30)]))
    return foretell(task, {"oracle": Oracle, "popular": lambda h: Popularity().fit(h)}, most_people=100)


def test_who_knows_all_gets_all(found):
    """The oracle has an NDCG of 1, popularity less, over the same people."""
    oracle, popular = (found[name].metrics() for name in ("oracle", "popular"))
    assert oracle["ndcg_at_10"] == oracle["recall_at_20"] == 1
    assert popular["ndcg_at_10"] < 1
    assert oracle["n_people"] == popular["n_people"] == 30


def test_people_are_told_apart_by_what_is_known(found):
    """Segments by the number of known likes; one without anybody has no figure."""
    metrics = found["oracle"].metrics()
    assert (metrics["cold_n_people"], metrics["some_n_people"]) == (12, 18)
    assert "many_ndcg_at_10" not in metrics


def test_the_same_people_are_asked_whatever_comes_later(monkeypatch):
    """Those of the lowest hashes, also when others join; their scores are made some at a time."""
    monkeypatch.setattr(recommendation, "_CHUNK_SCORES", 5 * N_ITEMS)
    few, more = (
        foretell(last_like_out(circle([4] * n)), {"oracle": Oracle}, most_people=7)["oracle"] for n in (30, 31)
    )
    assert np.isfinite(few.ranking.ndcg).sum() == np.isfinite(more.ranking.ndcg).sum() == 7
    assert few.metrics()["ndcg_at_10"] == 1


def test_nobody_to_ask_gives_no_figures():
    """People of one like have nothing to be asked with."""
    assert foretell(last_like_out(circle([1, 1])), {"oracle": Oracle}, most_people=10) == {}
