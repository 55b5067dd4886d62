"""The key by which erased people are recognised in a source, and who is not to be read.

It lies in the home, apart from the catalogue: who has only the catalogue cannot confirm a guess of an id. Both are
needed to keep people out, so both belong into backups.
"""

import secrets
from collections.abc import Container, Sequence

from personalgen.artifacts import write_bytes
from personalgen.catalogue import read
from personalgen.errors import ConfigError
from personalgen.steps.workspace import Workspace
from personalgen.tables.forgotten import ERASED, KEY_BYTES, NOBODY, ForgottenIds, erased_name, key_name

KEY_FILE = "erasure.key"


def people_not_read(workspace: Workspace) -> Container[str]:
    """Return the ids of whom nothing is read: who was forgotten, by name or by digest.

    Raises:
        ConfigError: people were erased, and the key that recognises them is not there. Nothing was read.
    """
    if not workspace.has_catalogue:
        return NOBODY
    names = read.forgotten_user_ids(workspace.engine)
    erased = [name for name in names if name.startswith(ERASED)]
    return ForgottenIds(names, _checked(workspace, erased) if erased else b"")


def own_key(workspace: Workspace) -> bytes:
    """Return the key of this home; the first erasure makes it.

    Raises:
        ConfigError: people were erased before, and their key is not there. Nothing was changed.
    """
    erased = [name for name in read.forgotten_user_ids(workspace.engine) if name.startswith(ERASED)]
    path = workspace.data / KEY_FILE
    if not erased and not path.exists():
        write_bytes(path, secrets.token_bytes(KEY_BYTES)).chmod(0o600)
    return _checked(workspace, erased)


def _checked(workspace: Workspace, erased: Sequence[str]) -> bytes:
    """Return the key after making sure that it is the one by which these people were erased."""
    path = workspace.data / KEY_FILE
    key = path.read_bytes() if path.is_file() else b""
    others = [name for name in erased if name != ERASED and not name.startswith(f"{ERASED}{key_name(key)}:")]
    if len(key) != KEY_BYTES or others:
        what = "is missing" if not key else "is another one"
        raise ConfigError(
            f"{path} {what}: without it the {len(erased):,} people who were erased cannot be recognised in the source, "
            "and would come back. Restore it from a backup of this home. Nothing was read."
        )
    return key


def name_in_catalogue(workspace: Workspace, user_id: str, key: bytes) -> str:
    """Return the name under which the catalogue knows a person: the id, or what stands for who was erased before."""
    erased = erased_name(user_id, key)
    return erased if erased in read.forgotten_user_ids(workspace.engine) else user_id
