import pytest

from personalgen.config import build_settings
from personalgen.errors import ArtifactError, CatalogueError
from personalgen.steps import Workspace
from personalgen.steps.embed import start_folder


@pytest.fixture
def workspace(tmp_path):
    return Workspace(build_settings({"home": str(tmp_path)}))


def test_only_one_night_holds_a_home(workspace):
    """A second holder is refused at once and told where the first one is; afterwards the home is free."""
    refused = pytest.raises(CatalogueError, match=r"another night is running in .*Nothing was started")
    with workspace.only_night(), refused, workspace.only_night():
        pass
    with workspace.only_night():
        pass


def test_two_homes_do_not_wait_for_each_other(workspace, tmp_path):
    """The lock belongs to the home."""
    with workspace.only_night(), Workspace(build_settings({"home": str(tmp_path / "other")})).only_night():
        pass


def test_nothing_is_live_in_a_new_home(workspace):
    """Before the first release there is no live model, and training starts from scratch."""
    assert workspace.live() is None
    assert start_folder(workspace) is None
    workspace.engine.dispose()


def test_a_snapshot_that_is_not_there_is_told(tmp_path):
    """A configured snapshot is never silently left out."""
    workspace = Workspace(build_settings({"home": str(tmp_path), "snapshot": str(tmp_path / "none")}))
    with pytest.raises(ArtifactError, match=r"none.* holds no card\.json"):
        start_folder(workspace)
    workspace.engine.dispose()


def test_a_workspace_makes_nothing_by_itself(tmp_path):
    """Opening settings writes no file: folders come with the first thing that needs one."""
    home = tmp_path / "home"
    workspace = Workspace(build_settings({"home": str(home)}))
    assert workspace.data == home.resolve() / "data"
    assert not home.exists()
