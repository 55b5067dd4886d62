"""A night with blind pairs to vote on, without a model or a picture."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from personalgen.catalogue import write
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.facts import ModelFacts, NightFacts
from personalgen.catalogue.migrations import upgrade
from personalgen.config import load_settings, with_values
from personalgen.steps.choices import Pair, Pairs
from personalgen.steps.workspace import Workspace

AT = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
CHALLENGER, CHAMPION = int("7" * 16, 16), int("1" * 16, 16)
"""Digests of weights whose sha256 is a row of sevens or ones."""


@dataclass(frozen=True)
class Voting:
    """A workspace, a night of its catalogue, and three pairs about that night's people."""

    workspace: Workspace
    night: Any
    pairs: Pairs

    def asking(self, **gate):
        """Return the workspace with other settings of the gate."""
        changed = {f"gate.{name}": value for name, value in gate.items()}
        return Workspace(with_values(self.workspace.settings, changed), now=lambda: AT)


@pytest.fixture
def voting(tmp_path, new_catalogue):
    """Return a night with a champion (catalogue id 1), people ada, bob and cid, and a pair for each."""
    settings = load_settings(None, [f"home={tmp_path}", f"store.catalogue_url={new_catalogue(tmp_path).url}"])
    engine = open_catalogue(settings.catalogue_url)
    upgrade(engine)
    facts = NightFacts(
        night_key="k", source="demo", as_of=AT, day=date(2026, 3, 1), source_digest="s", config_digest="c"
    )
    night_id = write.begin_night(engine, facts, at=AT)
    write.allocate_user_keys(engine, ["ada", "bob", "cid"], night_id=night_id)
    champion = ModelFacts(
        model_name="gan", version=1, generator_sha256="1" * 64, basis_version="b", condition_spec={}, folder="models/1"
    )
    write.register_model(engine, champion, at=AT)
    engine.dispose()
    sides = [(CHALLENGER, CHAMPION), (CHAMPION, CHALLENGER), (CHALLENGER, CHAMPION)]
    pairs = Pairs(
        folder=tmp_path / "votes", challenger=CHALLENGER, before=CHAMPION, before_is="champion",
        operating_point_digest=settings.generation.operating_point.digest(),
        pairs=tuple(Pair(f"n-{k + 1}", user_id, *sides[k]) for k, user_id in enumerate(("ada", "bob", "cid"))),
    )  # fmt: skip
    pairs.save()
    workspace = Workspace(settings, now=lambda: AT)
    yield Voting(workspace, SimpleNamespace(night_id=night_id), pairs)
    workspace.engine.dispose()
