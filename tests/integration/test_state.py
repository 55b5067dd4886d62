"""What a home keeps of people from night to night: brought up by what changed, equal to what is built anew."""

import dataclasses
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from personalgen.affinity import AffinityState
from personalgen.artifacts import read_json, write_json
from personalgen.catalogue import read
from personalgen.embeddings import load_basis, load_preferences, save_preferences
from personalgen.errors import NotFoundError
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.stored import load_recommender
from personalgen.steps import embed, forget, prepare, recommend
from personalgen.steps.data import NightData
from personalgen.steps.embed import preferences
from personalgen.steps.preferences import keep_or_fall_back, write_tables
from personalgen.steps.recommend import unchanged_users
from personalgen.steps.state import kept_state, state_folder
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)

FIELDS = 'condition.fields=["preference", "expected", "interests", "confidence", "dislikes", "behaviour"]'
BUCKETS = "buckets.users=40"
LATE, WRONG, GONE = "sim0-00003", "sim0-00005", "sim0-00007"


@pytest.fixture
def home(new_home):
    """Return an empty home with a history of its own."""
    return new_home(own_world=True)


def night(home, *overrides):
    """Prepare, recommend and embed; return the night, what was recommended and what was embedded."""
    workspace = home.workspace(FIELDS, BUCKETS, *overrides)
    with workspace.only_night():
        prepared = prepare(workspace)
        recommended = recommend(workspace, prepared)
        return workspace, prepared, recommended, embed(workspace, prepared, recommended)


def known(home):
    """Prepare, and bring the state up, without rankings; return the workspace, the night and what was recommended."""
    workspace = home.workspace(FIELDS, BUCKETS, "recommend.ranked_people=0")
    with workspace.only_night():
        prepared = prepare(workspace)
        return workspace, prepared, recommend(workspace, prepared)


def source(home, *statements):
    """Change the history that the home reads."""
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        for statement, *values in statements:
            connection.execute(statement, values)


def let_a_day_pass(home):
    """Add events of a third of the people, a late one, a correction, and somebody who leaves."""
    add_days(ShapesWorld(128), home.world / "history.db", home.workspace().settings.world.history, active_share=0.3)
    insert = "insert into interactions values(?, 'shape-00077', ?, 1, 'like')"
    first = "select min(rowid) from interactions where user_id = ?"
    wrong = f"update interactions set weight = -weight where rowid in ({first})"
    source(home, (insert, LATE, 1_697_000_000), (wrong, WRONG), ("delete from users where user_id = ?", GONE))


def recommender_of(workspace):
    """Return the kept recommender."""
    return load_recommender(state_folder(workspace) / kept_state(workspace).recommender)


def built_anew(workspace, prepared):
    """Return what is wrong with tonight's recommender beside one that learnt everything at once."""
    kept = recommender_of(workspace)
    anew = LinearNextItem(workspace.settings.recommender).fit(NightData.of(workspace, prepared).history)
    sums = kept.statistics.sums()
    wrong = [name for name, value in anew.statistics.sums().items() if not np.array_equal(sums[name], value)]
    return wrong + ([] if np.array_equal(kept.coefficients()[0], anew.coefficients()[0]) else ["coefficients"])


def rows_of(workspace):
    """Return what the affinity state knows: by user the count, and sums by item."""
    state = AffinityState.open(state_folder(workspace) / "affinity")
    found = {}
    for rows in state.rows():
        for k, user in enumerate(rows.users):
            sums = [
                dict(zip(state.item_ids(side.item[own]), side.value[own], strict=True))
                for side in (rows.liked, rows.disliked)
                for own in [slice(side.bounds[k], side.bounds[k + 1])]
            ]
            found[user] = (int(rows.n_events[k]), *sums)
    return found


def assert_same_rows(one, other):
    """Fail where two states know different things."""
    assert one.keys() == other.keys()
    for user, (count, *sums) in one.items():
        assert count == other[user][0]
        for mine, theirs in zip(sums, other[user][1:], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.fixture(scope="module")
def two_nights(new_home):
    """Return a home after two nights, with late, corrected and withdrawn events in between, and both nights."""
    home = new_home(own_world=True)
    first = night(home)
    let_a_day_pass(home)
    return home, first, night(home)


def test_the_first_night_builds_and_the_second_goes_on(two_nights):
    """The result says which it was, how much was new, and who is not the same."""
    _, (_, first, built, _), (_, _, updated, _) = two_nights
    assert (built.state, built.n_new_events, built.night_before) == ("built: there was none", first.n_interactions, "")
    assert (updated.state, updated.night_before) == ("updated", first.folder)
    assert updated.n_users_replaced == 3
    assert 0 < updated.n_new_events < built.n_new_events / 4
    assert updated.n_users_unchanged == len(unchanged_users(updated)) > 60


def test_going_on_is_building_anew(two_nights, new_home):
    """Sums of the recommender, and its coefficients, to the bit; the affinity state to rounding."""
    home, _, (workspace, second, _, _) = two_nights
    assert built_anew(workspace, second) == []
    other = dataclasses.replace(new_home(), world=home.world)
    fresh, again, anew, _ = night(other)
    assert anew.state.startswith("built")
    assert GONE not in rows_of(workspace)
    assert_same_rows(rows_of(workspace), rows_of(fresh))
    assert again.as_of == second.as_of
    assert len(AffinityState.open(state_folder(workspace) / "affinity").buckets()) == 4


def test_unchanged_people_keep_their_vectors(two_nights):
    """To rounding, in the same basis, which nights share from the first live model on."""
    _, (workspace, first, _, embedded), (later, second, updated, _) = two_nights
    basis, asked = load_basis(embedded.folder(first, embedded.train_basis)), {"expected": 1, "interests": 4}
    options = later.settings.recommender
    write_tables(workspace, first, NightData.of(workspace, first), basis, asked, options)
    before = preferences(first, embedded, basis.version)
    write_tables(later, second, NightData.of(later, second), basis, asked, options)
    folder = embedded.folder(second, basis.version)
    figures, reasons = keep_or_fall_back(later, folder, updated)
    assert reasons == ()
    assert figures["cosine"] > 0.999999
    tonight = load_preferences(folder / "preferences.parquet")
    same = unchanged_users(updated)
    one, other = (
        table.rows(np.array([k for k, user in enumerate(table.user_ids) if user in same]))
        for table in (before, tonight)
    )
    assert one.user_ids == other.user_ids
    assert np.allclose(one.vectors, other.vectors, atol=1e-6)
    moved = [k for k, user in enumerate(tonight.user_ids) if user == LATE]
    assert not np.allclose(tonight.vectors[moved], before.vectors[[before.user_ids.index(LATE)]], atol=1e-3)


def test_vectors_that_moved_by_themselves_are_not_used(two_nights):
    """Another bound that nothing meets: users keep last night's, newcomers are nobody yet, and the reason is said."""
    _, (workspace, first, _, embedded), (later, second, updated, _) = two_nights
    basis = load_basis(embedded.folder(first, embedded.train_basis))
    write_tables(workspace, first, NightData.of(workspace, first), basis, {}, later.settings.recommender)
    write_tables(later, second, NightData.of(later, second), basis, {}, later.settings.recommender)
    folder = embedded.folder(second, basis.version)
    strict = dataclasses.replace(later.settings, drift=dataclasses.replace(later.settings.drift, max_norm_ratio=1.0))
    _, reasons = keep_or_fall_back(dataclasses.replace(later, settings=strict), folder, updated)
    assert len(reasons) == 1
    assert "times as long as last night's, and drift.max_norm_ratio is 1" in reasons[0]
    assert read_json(folder / "drift.json")["fell_back"] == list(reasons)
    before = preferences(first, embedded, basis.version)
    held = load_preferences(folder / "preferences.parquet")
    place = {user: k for k, user in enumerate(before.user_ids)}
    kept = [k for k, user in enumerate(held.user_ids) if held.n_events[k] >= before.n_events[place[user]]]
    assert len(kept) >= len(held.user_ids) - 1
    assert all(np.array_equal(held.vectors[k], before.vectors[place[held.user_ids[k]]]) for k in kept)
    # The night after compares with what was computed, not with what was held.
    computed = load_preferences(folder / "computed.parquet")
    assert not np.array_equal(computed.vectors, held.vectors)
    source = embedded.folder(first, basis.version)
    save_preferences(source / "computed.parquet", before)
    save_preferences(source / "preferences.parquet", dataclasses.replace(before, vectors=before.vectors[::-1].copy()))
    write_tables(later, second, NightData.of(later, second), basis, {}, later.settings.recommender)
    figures, reasons = keep_or_fall_back(later, folder, updated)
    assert (figures["cosine"] > 0.999999, reasons) == (True, ())
    assert not (folder / "computed.parquet").exists()
    save_preferences(source / "preferences.parquet", before)
    (source / "computed.parquet").unlink()


def test_the_same_night_again_changes_nothing(two_nights):
    """Whether the stage's result is there, or was lost after the state had been brought up."""
    _, _, (workspace, second, updated, _) = two_nights
    known = rows_of(workspace)
    files = {path: path.stat().st_mtime_ns for path in state_folder(workspace).rglob("*") if path.is_file()}
    assert recommend(workspace, second) == updated
    assert files == {path: path.stat().st_mtime_ns for path in files}
    (Path(second.folder) / "recommend.json").unlink()
    again = recommend(workspace, second)
    assert (again.state, again.n_new_events, again.n_users_replaced) == ("updated", updated.n_new_events, 3)
    assert_same_rows(rows_of(workspace), known)
    assert built_anew(workspace, second) == []


def test_a_first_night_again_says_what_it_said(new_home):
    """Its stage's result was lost, not its state, which is built again, to the same: there was none before."""
    workspace, first, built, _ = night(new_home())
    known = rows_of(workspace)
    (Path(first.folder) / "recommend.json").unlink()
    again = recommend(workspace, first)
    assert again.state == built.state == "built: there was none"
    assert again.n_new_events == built.n_new_events
    assert_same_rows(rows_of(workspace), known)


def test_recommendations_are_catalogued(two_nights):
    """The best unseen items of everybody with a like; analysts see the newest night's."""
    home, _, (workspace, second, updated, _) = two_nights
    history = NightData.of(workspace, second).history
    user = next(k for k in range(len(history.user_ids)) if (history.weight[history.user_index == k] > 0).sum() > 3)
    rows = read.recommendations(workspace.engine, history.user_ids[user])
    assert [row.rank for row in rows] == list(range(1, 11))
    assert sorted((row.score for row in rows), reverse=True) == [row.score for row in rows]
    seen = {history.item_ids[k] for k in history.item_index[history.user_index == user]}
    assert not seen & {row.item_id for row in rows}
    model = recommender_of(workspace)
    scores = model.scores(history.of(np.array([user])))[0]
    scores[[history.item_ids.index(item) for item in seen]] = -np.inf
    assert rows[0].item_id == history.item_ids[int(scores.argmax())]
    assert len(read.users_like(workspace.engine, history.user_ids[user])) == 10
    assert len(read.items_like(workspace.engine, rows[0].item_id)) == 10
    assert home.ask("select count(*) as n from recommendation")[0]["n"] == updated.n_recommendations


def test_rankings_are_logged(two_nights):
    """Both tasks, all models, people by what is known of them; and the night's result says the two that decide."""
    _, _, (_, _, updated, _) = two_nights
    table = json.loads((Path(updated.folder) / "rankings.json").read_text())
    assert set(table) == {"later", "last"}
    assert set(table["last"]) == {"next-item", "popularity", "popular-7-days", "svd"}
    assert updated.last_ndcg == table["last"]["next-item"]["ndcg_at_10"]
    assert {"cold_ndcg_at_10", "some_ndcg_at_10", "many_ndcg_at_10"} <= set(table["last"]["next-item"])


def test_a_night_that_was_cut_while_it_changed_the_state_is_built(home):
    """The parts are not those of the manifest: nothing is counted twice."""
    workspace, *_ = known(home)
    let_a_day_pass(home)
    state = AffinityState.open(state_folder(workspace) / "affinity")
    state.add([], as_of=workspace.now(), night="another night")
    later, second, updated = known(home)
    assert updated.state == "built: a night was cut while it changed the state"
    assert built_anew(later, second) == []
    assert sum(count for count, *_ in rows_of(later).values()) == len(NightData.of(later, second).history.weight)


def test_a_state_whose_tables_are_gone_is_built(home):
    """The reason names the folder."""
    _, first, _ = known(home)
    let_a_day_pass(home)
    shutil.rmtree(first.prepared)
    _, _, updated = known(home)
    assert updated.state.startswith(f"built: the tables it was made of cannot be read: {first.prepared}")


def test_a_state_of_another_version_is_built(home):
    """The reason says which."""
    workspace, *_ = known(home)
    manifest = state_folder(workspace) / "state.json"
    write_json(manifest, read_json(manifest) | {"format": 0})
    let_a_day_pass(home)
    assert known(home)[2].state == "built: another version wrote the state (format 0, this one reads 1)"


def spoil_tables(workspace, first):
    """Delete one of the tables that the state was made of."""
    (Path(first.prepared) / "interactions.parquet").unlink()


def spoil_parts(workspace, first):
    """Delete a part of the affinity state."""
    shutil.rmtree(next((state_folder(workspace) / "affinity").glob("part-*")))


def spoil_recommender(workspace, first):
    """Let the recommender be of another version."""
    card = state_folder(workspace) / kept_state(workspace).recommender / "recommender.json"
    write_json(card, read_json(card) | {"format": 0})


@pytest.mark.parametrize("spoil", [spoil_tables, spoil_parts, spoil_recommender])
def test_a_broken_state_stops_no_night(home, spoil):
    """What cannot be gone on from is built, and tonight's is right."""
    workspace, first, _ = known(home)
    spoil(workspace, first)
    let_a_day_pass(home)
    later, second, updated = known(home)
    assert updated.state.startswith("updated" if spoil is spoil_recommender else "built: ")
    assert built_anew(later, second) == []
    assert sum(count for count, *_ in rows_of(later).values()) == len(NightData.of(later, second).history.weight)


def test_tables_may_be_left_out(home):
    """Without items, neighbours and rankings a night does the rest."""
    workspace, _, found, _ = night(home, "recommend.top_items=0", "recommend.neighbours=0", "recommend.ranked_people=0")
    assert (found.n_recommendations, found.later_ndcg, found.tables_kept) == (0, None, False)
    assert home.ask("select count(*) as n from user_neighbour")[0]["n"] == 0
    assert len(rows_of(workspace)) > 100


def everywhere(home, user_id):
    """Return the files below the home's data that hold an id, but those of the catalogue and the tracker."""
    found = []
    for path in sorted((home.path / "data").rglob("*")):
        if path.suffix == ".parquet" and path.is_file():
            table = pq.read_table(path)
            if any(user_id in str(value) for column in table.columns for value in column.to_pylist()):
                found.append(path)
        elif path.suffix == ".json" and path.is_file() and user_id in path.read_text():
            found.append(path)
    return found


def test_a_person_is_forgotten(home):
    """No file of state or nights holds the id, sums are those of the others, and no night reads the person again."""
    workspace, first, _, _ = night(home)
    person = "sim0-00002"
    assert everywhere(home, person)
    others = NightData.of(workspace, first).history
    others = others.where(others.user_index != others.user_ids.index(person))
    with workspace.only_night():
        done = forget(workspace, person, reason="asked for it", actor="test")
    assert everywhere(home, person) == []
    assert done.recommender == "its statistics at once, its coefficients at the next solve"
    assert done.removed["affinity state"] == 1
    kept = recommender_of(workspace)
    anew = LinearNextItem(workspace.settings.recommender).fit(others)
    assert all(np.array_equal(kept.statistics.sums()[name], value) for name, value in anew.statistics.sums().items())
    (line,) = read.forgotten(workspace.engine)
    assert (line.statistics_exact, line.coefficients_at) == (True, None)
    later, second, updated, _ = night(home)
    assert updated.state == "updated"
    assert person not in NightData.of(later, second).history.user_ids
    assert built_anew(later, second) == []
    assert updated.n_users_replaced == 0
    assert everywhere(home, person) == []
    (line,) = read.forgotten(later.engine)
    assert line.coefficients_at is not None
    assert second.n_opted_out_events > first.n_opted_out_events


def test_forgetting_twice_subtracts_once(home):
    """The second time nothing is left to subtract; the ledger has a line for each request."""
    workspace, *_ = known(home)
    with workspace.only_night():
        forget(workspace, "sim0-00002", reason="asked for it", actor="test")
        sums = recommender_of(workspace).statistics.sums()
        again = forget(workspace, "sim0-00002", reason="asked again", actor="test")
    assert again.recommender == ""
    after = recommender_of(workspace).statistics.sums()
    assert all(np.array_equal(sums[name], after[name]) for name in sums)
    assert len(read.forgotten(workspace.engine)) == 2


def test_nobody_is_forgotten_by_mistake(home):
    """An id that the catalogue does not know changes nothing."""
    workspace, *_ = known(home)
    with pytest.raises(NotFoundError, match="no user 'nobody'"):
        forget(workspace, "nobody", reason="a slip", actor="test")
    assert read.forgotten(workspace.engine) == ()


def test_who_left_before_is_forgotten_too(home):
    """Somebody whom the source does not name any more is masked in the state, and then taken out of its files."""
    known(home)
    source(home, ("delete from users where user_id = ?", GONE))
    workspace, *_ = known(home)
    assert any("affinity" in str(path) for path in everywhere(home, GONE))
    with workspace.only_night():
        done = forget(workspace, GONE, reason="asked for it", actor="test")
    assert everywhere(home, GONE) == []
    assert (done.recommender, done.removed["affinity state"]) == ("", 1)
    let_a_day_pass(home)
    later, second, updated = known(home)
    assert updated.state == "updated"
    assert built_anew(later, second) == []


def test_forgetting_after_a_cut_night_counts_nothing_twice(home):
    """A state that is not its manifest's is deleted, and the next night builds it."""
    workspace, *_ = known(home)
    state = AffinityState.open(state_folder(workspace) / "affinity")
    state.add([], as_of=workspace.now(), night="another night")
    with workspace.only_night():
        done = forget(workspace, LATE, reason="asked for it", actor="test")
    assert done.removed["state, which the next night builds"] == 1
    assert everywhere(home, LATE) == []
    later, second, updated = known(home)
    assert updated.state == "built: there was none"
    assert sum(count for count, *_ in rows_of(later).values()) == len(NightData.of(later, second).history.weight)


def test_an_item_with_the_person_s_id_stays(home):
    """In recommendations a person is who gets them, not what is found."""
    workspace, prepared, _ = known(home)
    path = Path(prepared.folder) / "recommend" / "recommendations.parquet"
    table = pq.read_table(path).to_pandas()
    table.loc[table.index[:50], "found"] = LATE
    others = (table["id"] != LATE).sum()
    table.to_parquet(path)
    with workspace.only_night():
        forget(workspace, LATE, reason="asked for it", actor="test")
    assert len(pq.read_table(path)) == others
