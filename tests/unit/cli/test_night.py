import pytest

from personalgen.cli.night import night_text

SUMMARY = {
    "day": "2026-09-21", "source": "shop", "already_done": False, "images_made": 9, "users_new": 9, "users_changed": 0,
    "users_unchanged": 0, "shards": "/s", "live_version": 1, "promoted": True, "model_name": "gan", "version": 2,
    "gate": "good", "kid": 0.5, "kid_floor": 0.1, "kid_before": None, "fit_gain": 0.1, "fit_gain_low": 0.05,
    "fit_gain_high": 0.2, "fit_gain_before": None, "fit_generated": 0.1, "fit_shuffled": 0.0, "fit_real_gain": 0.2,
    "state": "updated", "new_events": 12, "users_replaced": 1,
    "recommendations": 40, "ndcg": 0.125, "ndcg_of_popularity": 0.0625,
    "npg": 0.5, "npg_before": None, "before_is": "", "events": 1234, "rows_quarantined": 0, "quarantine": "/q.parquet",
    "events_after_as_of": 0, "events_opted_out": 3, "events_unlisted": 0, "report": "/r.html", "sheet": "/s.png",
}  # fmt: skip


def lines(**changes):
    """Return the lines of a night's summary, its spaces squeezed."""
    return [" ".join(line.split()) for line in night_text(SUMMARY | changes, " --config a.toml").splitlines()]


def test_a_night_tells_figures_and_what_to_try_next():
    """KID beside its floor, the gain with its control, and three commands with the night's options."""
    told = lines()
    assert "KID 0.5; real against real 0.1" in told
    assert "own pictures 0.1, control with shuffled users 0" in told
    assert told[-3:][0] == "personalgen assets latest --config a.toml"
    assert all(line.endswith("--config a.toml") for line in told[-3:])


def test_a_score_says_what_zero_means():
    """The mean of the judge's scores, beside that of pictures which would suit anybody as well."""
    assert "score +0.212 in the mean of 990 images; 0 would suit anybody as well" in lines(
        mean_score=0.212, images_scored=990
    )
    assert "score no image was scored" in lines(images_scored=0)


def test_a_night_that_drew_nothing_leads_to_its_version():
    """Without a live model there is no image to list: the commands look at the version and may promote it."""
    told = lines(live_version=0, promoted=False, sheet="")
    assert told[-1] == 'personalgen models promote 2 --reason "to look at it" --config a.toml'
    assert not any("assets" in line for line in told)


def test_a_night_without_evaluation_shows_no_figures():
    """One line instead of a dozen that say missing."""
    told = lines(kid=None, fit_gain=None, npg=None)
    assert "evaluation missing: see the gate" in told
    assert not any(line.startswith(("KID", "fit gain")) for line in told)


@pytest.mark.parametrize(("n_rows", "where"), [(0, ""), (3, ": /q.parquet")])
def test_quarantined_rows_can_be_found(n_rows, where):
    """Where there are some, the file is named."""
    assert f"rows 1,234 events read, {n_rows} rows quarantined{where}" in lines(rows_quarantined=n_rows)


def test_one_of_something_is_told_as_one():
    """A night of one new event has no "1 events"."""
    names = ("users_new", "users_unchanged", "new_events", "users_replaced", "events", "rows_quarantined")
    told = "\n".join(lines(**dict.fromkeys(names, 1), events_after_as_of=1, events_unlisted=1, images_made=1))
    assert "1 made: 1 user new to the model, 0 changed" in told
    assert "1 user kept theirs; in /s" in told
    assert "1 new event, 1 user with other events than before" in told
    assert "1 event read, 1 row quarantined: /q.parquet" in told
    assert "not read: 1 event after as_of, 3 of users who opted out" in told
    assert "not read: 1 event of users who are not in the users table" in told


def test_events_of_unlisted_people_are_told_where_there_are_some():
    """A users table of other ids would otherwise go unnoticed."""
    assert not any("not in the users table" in line for line in lines())
    assert "not read: 7 events of users who are not in the users table" in lines(events_unlisted=7)


def test_what_is_known_of_users_is_told():
    """What the state did, how well next likes are foretold, and what is kept from last night."""
    assert "users state updated; 12 new events, 1 user with other events than before" in lines()
    assert "next likes 40 recommended; NDCG@10 0.125, what is popular 0.0625" in lines()
    assert "next likes last night's stand, as popularity is far better" in lines(tables_kept=True, ndcg=None)
    assert "what was known last night is kept: vectors moved" in lines(vectors_kept="vectors moved")
