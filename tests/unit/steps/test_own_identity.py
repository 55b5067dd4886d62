from datetime import UTC, date, datetime

import pytest

from personalgen.catalogue import write
from personalgen.catalogue.facts import NightFacts
from personalgen.config import build_settings, load_settings
from personalgen.errors import ConfigError
from personalgen.option_values import SALT_VARIABLE
from personalgen.steps.own_identity import own_identity, user_named
from personalgen.steps.workspace import Workspace
from personalgen.tables.identity import PLAIN, Identity

AT = datetime(2026, 3, 1, tzinfo=UTC)
SALT = "0123456789abcdef"


@pytest.fixture
def home(tmp_path, new_catalogue):
    """Return a function that opens one home with settings of privacy."""
    url = new_catalogue(tmp_path).url
    opened = []

    def open_home(**privacy):
        settings = {"home": str(tmp_path), "store": {"catalogue_url": url}, "privacy": privacy}
        opened.append(Workspace(build_settings(settings)))
        return opened[-1]

    yield open_home
    for workspace in opened:
        workspace.close()


@pytest.fixture
def salted(monkeypatch):
    """Put the salt into the environment."""
    monkeypatch.setenv(SALT_VARIABLE, SALT)


def know(workspace, user_id):
    """Let the catalogue know a person."""
    night = NightFacts(night_key="k", source="s", as_of=AT, day=date(2026, 3, 1), source_digest="s", config_digest="c")
    write.allocate_user_keys(workspace.engine, [user_id], night_id=write.begin_night(workspace.engine, night, at=AT))


def test_ids_are_plain_unless_asked_for(home, salted):
    """A salt in the environment alone hashes nothing."""
    workspace = home()
    assert workspace.engine
    assert own_identity(workspace) == PLAIN
    assert user_named(workspace, "ada") == "ada"


def test_the_salt_is_no_setting(salted):
    """It is in the environment under the prefix of settings, and in none of them."""
    assert SALT not in str(load_settings().public())


@pytest.mark.parametrize("from_file", [False, True])
def test_the_salt_comes_from_the_environment_or_a_file(home, tmp_path, monkeypatch, from_file):
    """Either gives the same ids; the end of a line is no part of a salt."""
    if from_file:
        (tmp_path / "salt").write_text(f"{SALT}\n")
        (tmp_path / "salt").chmod(0o600)
    else:
        monkeypatch.setenv(SALT_VARIABLE, SALT)
    workspace = home(hash_ids=True, **({"key_file": "salt"} if from_file else {}))
    assert own_identity(workspace) == Identity(SALT.encode())
    assert user_named(workspace, "ada") == Identity(SALT.encode()).user_id("ada")


def test_no_salt_or_two_are_refused(home, monkeypatch):
    """The message says where a salt may be."""
    with pytest.raises(ConfigError, match=f"{SALT_VARIABLE} or in the file privacy.key_file, found neither"):
        own_identity(home(hash_ids=True))
    monkeypatch.setenv(SALT_VARIABLE, SALT)
    with pytest.raises(ConfigError, match="found both"):
        own_identity(home(hash_ids=True, key_file="salt"))


@pytest.mark.parametrize(
    ("content", "mode", "why"), [(SALT, 0o644, "chmod 600"), ("\n", 0o600, "is empty"), (None, 0, "cannot be read")]
)
def test_a_key_file_that_is_none_is_refused(home, tmp_path, content, mode, why):
    """One that others may read, an empty one, a missing one."""
    if content is not None:
        (tmp_path / "salt").write_text(content)
        (tmp_path / "salt").chmod(mode)
    with pytest.raises(ConfigError, match=f"{why}.*Nothing was read"):
        own_identity(home(hash_ids=True, key_file="salt"))


def test_a_home_with_plain_ids_stays_plain(home, salted):
    """Turning it on later would make strangers of everybody."""
    know(home(), "ada")
    with pytest.raises(ConfigError, match="by their plain ids, and the settings name them by ids that were hashed"):
        own_identity(home(hash_ids=True))


def test_another_salt_and_none_are_refused(home, salted, monkeypatch):
    """The catalogue knows by which salt its people are named."""
    identity = Identity(SALT.encode())
    know(home(hash_ids=True), identity.user_id("ada"))
    assert own_identity(home(hash_ids=True)) == identity
    with pytest.raises(ConfigError, match=r"Restore the salt and privacy\.hash_ids"):
        own_identity(home())
    monkeypatch.setenv(SALT_VARIABLE, f"{SALT}!")
    with pytest.raises(ConfigError, match=f"hashed with the salt {identity.fingerprint}, and the settings"):
        own_identity(home(hash_ids=True))


def test_an_id_that_lists_show_needs_no_salt(home):
    """Who only looks at rows holds no secret."""
    known = Identity(SALT.encode()).user_id("ada")
    assert user_named(home(hash_ids=True), known) == known
