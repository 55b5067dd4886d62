"""Raters and voters are named as people are: hashed where ids are, and unheard once they were forgotten."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from personalgen.catalogue import comparisons, ratings, shards, write
from personalgen.catalogue.migrations import upgrade
from personalgen.config import build_settings
from personalgen.option_values import SALT_VARIABLE
from personalgen.steps import forget_people
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


def raters(workspace):
    """Return who rated what."""
    return [(row.asset_id, row.rater) for row in ratings.ratings(workspace.engine)]


def texts(workspace):
    """Return what the files of the catalogue hold."""
    return b"".join(path.read_bytes() for path in sorted(workspace.data.glob("catalogue.db*")))


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
