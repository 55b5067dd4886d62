"""A home after a night that tests may spoil and cut."""

import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import event


@pytest.fixture(scope="session")
def kept_home(new_home, plain_nightly, tmp_path_factory):
    """A home after a night, and a copy of it to come back to."""
    home = new_home()
    plain_nightly(home.workspace())
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(home.path / "data", copy)
    return home, copy, home.catalogue.kept(copy.parent)


@pytest.fixture
def restore(kept_home):
    """Return a function that puts the home back, but for the tracker's database, which MLflow keeps open."""
    home, copy, put_catalogue_back = kept_home

    def put_back():
        shutil.rmtree(home.path / "data", ignore_errors=True)
        shutil.copytree(copy, home.path / "data")
        put_catalogue_back()

    return put_back


@pytest.fixture
def restored(kept_home, restore):
    """The home as the night left it."""
    restore()
    return kept_home[0]


class Killed(BaseException):
    """Ends the process, as far as the code can tell."""


@pytest.fixture
def cut():
    """Return a function that lets nothing reach the disk from the n-th time on, as if the process had died there."""

    def run(workspace, last, act):
        calls = 0

        def count(*_):
            nonlocal calls
            calls += 1
            if last is not None and calls >= last:
                raise Killed

        def deadly(call):
            def counted(*given, **options):
                count()
                return call(*given, **options)

            return counted

        with pytest.MonkeyPatch.context() as patch, workspace.only_night():
            for owner, name in ((os, "fsync"), (os, "pwrite"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree")):
                patch.setattr(owner, name, deadly(getattr(owner, name)))
            event.listen(workspace.engine, "commit", count)
            try:
                act(workspace)
            except Killed:
                pass
            finally:
                workspace.engine.dispose()
        return calls

    return run
