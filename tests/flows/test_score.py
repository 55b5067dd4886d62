"""A night's images get the judge's score: of the right person, once, and however often the stage was cut."""

import json

import numpy as np
import pytest

from personalgen.catalogue import scores
from personalgen.embeddings import like_weights
from personalgen.errors import NotFoundError
from personalgen.evaluation import ContentJudge, Pictures, judge_features, reference_items
from personalgen.generation.encoders import decode
from personalgen.steps import Night, score
from personalgen.steps.assets import image_bytes
from personalgen.steps.data import NightData
from personalgen.steps.night import from_json
from personalgen.tables.split import JUDGE

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights themselves run once, while a test is set up

SCORES = 'select a.asset_id, u.user_id, a.score from asset a join "user" u using (user_key) order by asset_id'


@pytest.fixture(scope="module")
def home(new_home, plain_nightly):
    """Return a home whose night scored nothing."""
    home = new_home()
    told = plain_nightly(home.workspace("score.images=none"))
    assert (told["images_scored"], told["mean_score"]) == (0, None)
    return home


@pytest.fixture(scope="module")
def night(home):
    """Return the night of the home."""
    (path,) = home.path.glob("data/nights/*/prepare.json")
    return from_json(Night, json.loads(path.read_text()))


@pytest.fixture(autouse=True)
def _nothing_is_scored(home):
    """Every test starts with images without scores."""
    with home.workspace().engine.begin() as connection:
        connection.exec_driver_sql("update asset set score = null")
        connection.exec_driver_sql("update daily_stat set n_scored = 0, score_sum = 0")


def scored(home, night, *settings):
    """Run the stage again with other settings; return its result."""
    (night.path / "score.json").unlink(missing_ok=True)
    return score(home.workspace(*settings), night)


def profiles_of(data, judge, seen, half_life_days):
    """Return the weighted sum of each person's likes in the judge's space."""
    rows, history, found = judge.whiten(seen), data.history, {}
    weight = like_weights(history, half_life_days)
    for user, user_id in enumerate(history.user_ids):
        own = (history.user_index == user) & (weight > 0)
        if own.any():
            found[user_id] = (weight[own, None] * rows[history.item_index[own]]).sum(axis=0)
    return found


@pytest.fixture(scope="module")
def by_hand(home, night):
    """Return the score of every image of people with likes by the plain formula, one cosine after the other."""
    workspace = home.workspace()
    data, settings = NightData.of(workspace, night), workspace.settings
    seen = judge_features(np.array(data.prepared.images), px=settings.evaluation.feature_px)
    reference = reference_items(data.item_split, settings.evaluation)
    judge = ContentJudge(settings.evaluation.judge_dims)
    judge.fit(Pictures(seen[np.sort(reference[data.item_split[reference] == JUDGE])]))
    profiles, found = profiles_of(data, judge, seen, settings.embeddings.half_life_days), {}
    for row in home.ask(SCORES):
        image = decode(image_bytes(workspace, row["asset_id"])[0])
        picture = judge.whiten(judge_features(np.array(image[None]), px=settings.evaluation.feature_px))[0]
        near = {name: picture @ p / np.linalg.norm(picture) / np.linalg.norm(p) for name, p in profiles.items()}
        if (own := near.pop(row["user_id"], None)) is not None:
            found[row["asset_id"]] = own - np.mean(list(near.values()))
    return found


def test_a_limit_scores_the_same_few_however_often(home, night):
    """Ten images of ten people, drawn by hash; asked again, nobody else."""
    assert scored(home, night, "score.images=10").n_scored == 10
    first = home.ask(SCORES)
    assert scored(home, night, "score.images=10").n_scored == 10
    assert home.ask(SCORES) == first
    seeds = home.ask("select seed, score from asset order by seed")
    assert [row["score"] is not None for row in seeds] == [k < 10 for k in range(len(seeds))]


def test_a_cut_stage_goes_on_where_it_stopped(home, night, monkeypatch):
    """Killed before the third page, the scores of two are there, and stay when it runs again; sums follow."""
    monkeypatch.setattr(scores, "_PAGE", 32)
    write, pages = scores.record_scores, []

    def dying(engine, pairs):
        if len(pages) == 2:
            raise KeyboardInterrupt
        pages.append(pairs)
        return write(engine, pairs)

    monkeypatch.setattr(scores, "record_scores", dying)
    with pytest.raises(KeyboardInterrupt):
        scored(home, night, "score.images=all")
    monkeypatch.setattr(scores, "record_scores", write)
    half = {row["asset_id"]: row["score"] for row in home.ask(SCORES) if row["score"] is not None}
    result = scored(home, night, "score.images=all")
    whole = {row["asset_id"]: row["score"] for row in home.ask(SCORES) if row["score"] is not None}
    assert 32 < len(half) < len(whole) == result.n_scored
    assert half.items() <= whole.items()
    (sums,) = home.ask("select sum(n_scored) as n, sum(score_sum) as total from daily_stat")
    assert (sums["n"], sums["total"] / sums["n"]) == (result.n_scored, pytest.approx(result.mean))


def test_scores_are_those_of_the_plain_formula(home, night, by_hand):
    """Each person's images are compared with that person's likes; who has none has no score."""
    result = scored(home, night, "score.images=all")
    found = {row["asset_id"]: row["score"] for row in home.ask(SCORES)}
    assert {key for key, value in found.items() if value is not None} == by_hand.keys()
    assert [found[key] for key in by_hand] == pytest.approx(list(by_hand.values()), abs=1e-4)
    assert result.n_without_likes == len(found) - len(by_hand)


def test_whichever_stage_made_images_they_are_scored(home, night):
    """A canary may have drawn everybody: the catalogue's images of the night count, not those that `generate` made."""
    path = night.path / "generate.json"
    told = path.read_text()
    path.write_text(json.dumps({**json.loads(told), "n_assets": 0}))
    assert scored(home, night, "score.images=10").n_scored == 10
    path.write_text(told)
    home.catalogue.change("update daily_stat set n_images = 0")
    assert scored(home, night).missing == "no image was made tonight"
    home.catalogue.change("update daily_stat set n_images = n_users")  # one image each


def test_damaged_images_are_counted_and_left_out(home, night):
    """A shard that is not there leaves its images without a score, and the others are scored."""
    shard = home.path / "data" / home.ask("select path from shard order by path limit 1")[0]["path"]
    moved = shard.rename(shard.with_suffix(".away"))
    result = scored(home, night, "score.images=all")
    moved.rename(shard)
    assert 0 < result.n_unreadable <= 25
    assert result.n_scored + result.n_unreadable + result.n_without_likes == len(home.ask(SCORES))


def test_people_see_scores(first_night):
    """`nightly`, `assets top` and `assets show` tell them, the best first."""
    home = first_night.home
    rows = json.loads(home.tell("assets", "top", "--json", "--night", "1").out)
    values = [row["score"] for row in rows]
    assert len(values) == 10
    assert values == sorted(values, reverse=True)
    assert f"score                  {values[0]}"[:20] in home.tell("assets", "show", str(rows[0]["asset_id"])).out
    assert first_night.summary["images_scored"] > 100
    assert -2 < first_night.summary["mean_score"] < 2


def test_a_night_without_images_scores_none(new_home):
    """Before `generate` there is nothing to score, and it says which command comes first."""
    told = new_home().tell("score")
    assert told.code == NotFoundError.exit_code
    assert "generate has not run yet" in told.err
