"""Raters and voters are named as people are: hashed where ids are, and unheard once they were forgotten."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from personalgen.catalogue import comparisons, ratings, shards, write
from personalgen.catalogue.migrations import upgrade
from personalgen.config import build_settings
from personalgen.errors import ConfigError, DataError, NotFoundError
from personalgen.option_values import SALT_VARIABLE
from personalgen.steps import forget_people, store_choices
from personalgen.steps.heard import name_heard, names_heard
from personalgen.steps.rate import RatingsRead, rate_asset, rate_from_file
from personalgen.steps.workspace import Workspace
from personalgen.tables.identity import PLAIN, Identity
from tests.integration.catalogue.small import AT, begin, register, rows_of, shard_facts, vote

SALT = "0123456789abcdef"
LATER = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def new_home(tmp_path, new_catalogue, monkeypatch):
    """Return a function that opens a home in which ada and bob have images, 1 and 2, and cid has none."""
    monkeypatch.setenv(SALT_VARIABLE, SALT)
    opened = []

    def make(*, hash_ids):
        store = {"catalogue_url": new_catalogue(tmp_path).url}
        settings = {"home": str(tmp_path), "store": store, "privacy": {"hash_ids": hash_ids}}
        workspace = Workspace(build_settings(settings), now=lambda: AT)
        opened.append(workspace)
        upgrade(workspace.engine)
        night, identity = begin(workspace.engine), Identity(SALT.encode()) if hash_ids else PLAIN
        ids = [identity.user_id(name) for name in ("ada", "bob", "cid")]
        keys = write.allocate_user_keys(workspace.engine, ids, night_id=night)
        facts = shard_facts(night, register(workspace.engine, night))
        shards.commit_shard(workspace.engine, facts, rows_of(keys[:2]))
        return workspace, SimpleNamespace(night_id=night), ids

    yield make
    for workspace in opened:
        workspace.close()


def table(workspace, *lines):
    """Return a file of ratings."""
    path = workspace.data.parent / "ratings.csv"
    path.write_text("\n".join(["asset_id,rating,rater,at", *lines]))
    return path


def raters(workspace):
    """Return who rated what."""
    return [(row.asset_id, row.rater) for row in ratings.ratings(workspace.engine)]


def texts(workspace):
    """Return what the files of the catalogue hold."""
    return b"".join(path.read_bytes() for path in sorted(workspace.data.glob("catalogue.db*")))


def test_raters_are_hashed_where_ids_are(new_home):
    """By the plain id, or by the one that lists show, it is the person; a free name is hashed likewise."""
    workspace, _, (ada, bob, cid) = new_home(hash_ids=True)
    lines = ("1,1,ada,", f"2,-1,{bob},", "2,0.5,cid,", "1,0.5,a-free-name,")
    assert rate_from_file(workspace, table(workspace, *lines)) == RatingsRead(4, 4)
    assert rate_asset(workspace, 1, 0.5, rater="bob") == 1
    assert rate_asset(workspace, 2, -1, rater="bob") == 0
    free = Identity(SALT.encode()).user_id("a-free-name")
    assert sorted(raters(workspace)) == sorted([(1, ada), (2, bob), (2, cid), (1, free), (1, bob)])
    assert {told.user_id for told in ratings.own_ratings(workspace.engine, before=LATER)} == {ada, bob}


def test_without_the_salt_no_plain_name_is_taken(new_home, monkeypatch):
    """As `--user` refuses it; the id that lists show needs none."""
    workspace, night, (ada, *_) = new_home(hash_ids=True)
    monkeypatch.delenv(SALT_VARIABLE)
    with pytest.raises(ConfigError, match=SALT_VARIABLE):
        rate_asset(workspace, 1, 1, rater="ada")
    with pytest.raises(ConfigError, match=SALT_VARIABLE):
        rate_from_file(workspace, table(workspace, f"1,1,{ada},", "1,1,ada,"))
    with pytest.raises(ConfigError, match=SALT_VARIABLE):
        store_choices(workspace, night, [vote(ada, voter="vera")])
    assert raters(workspace) == []
    assert rate_asset(workspace, 1, 1, rater=ada) == 1


def test_voters_are_hashed_where_ids_are(new_home):
    """A voter who is a person of the source is that person."""
    workspace, night, (ada, bob, _) = new_home(hash_ids=True)
    assert store_choices(workspace, night, [vote(ada, voter="bob"), vote(ada, voter="vera")]) == 2
    found = {row.voter for row in comparisons.comparisons(workspace.engine)}
    assert found == {bob, Identity(SALT.encode()).user_id("vera")}


@pytest.mark.parametrize("hash_ids", [False, True])
def test_who_was_forgotten_is_not_heard(new_home, hash_ids):
    """Neither as a rater nor as a voter, by either id; others are, and the file says how many were left out."""
    workspace, night, (ada, _, cid) = new_home(hash_ids=hash_ids)
    forget_people(workspace, ["cid"], reason="asked", actor="test")
    lines = ("1,1,cid,", f"2,1,{cid},", "1,1,bob,", "77,1,bob,")
    assert rate_from_file(workspace, table(workspace, *lines)) == RatingsRead(4, 1, 2, 1)
    with pytest.raises(DataError, match="Nothing was stored"):
        rate_asset(workspace, 1, 1, rater="cid")
    assert store_choices(workspace, night, [vote(ada, voter="cid"), vote(ada, voter="vera")]) == 1
    assert len(raters(workspace)) == len(comparisons.comparisons(workspace.engine)) == 1
    assert list(names_heard(workspace, ["cid", "vera"])) == ["vera"]
    with pytest.raises(DataError, match="was forgotten"):
        name_heard(workspace, cid)


def test_names_are_canonical_where_they_are_plain(new_home):
    """A composed letter and its parts are one id, as in the source: who was forgotten is known by both."""
    workspace, *_ = new_home(hash_ids=False)
    assert names_heard(workspace, ["Ren\u00e9", "Rene\u0301"]) == dict.fromkeys(("René", "René"), "René")


def test_one_opinion_of_a_picture_that_is_gone_is_refused(new_home):
    """One by one there is nothing to leave out."""
    workspace, *_ = new_home(hash_ids=False)
    with pytest.raises(NotFoundError):
        rate_asset(workspace, 77, 1, rater="bob")


@pytest.mark.parametrize("hash_ids", [False, True])
def test_forgetting_again_deletes_what_was_said_by_any_id(new_home, hash_ids):
    """Rows that came past the rule name a person by the plain id, or once the catalogue knew them by a digest alone."""
    workspace, night, (ada, _, cid) = new_home(hash_ids=hash_ids)
    for _ in range(2):
        told = [ratings.RatingFacts(asset_id=1, value=1, rater=name, source="product", at=AT) for name in {"cid", cid}]
        ratings.record_ratings(workspace.engine, told)
        votes = [vote(ada, voter=name) for name in {"cid", cid}]
        comparisons.record_comparisons(workspace.engine, night.night_id, votes, at=AT)
        (done,) = forget_people(workspace, ["cid", cid], reason="asked", actor="test")
        assert (done.removed["rating"], done.removed["blind choices"]) == (len(told), len(votes))
        assert raters(workspace) == list(comparisons.comparisons(workspace.engine)) == []
        if workspace.settings.catalogue_url.startswith("sqlite"):
            workspace.engine.dispose()
            assert [name for name in ("cid", cid) if name.encode() in texts(workspace)] == []
