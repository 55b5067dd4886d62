"""The salt of `privacy.hash_ids`: where it is read, that the catalogue knows people by it, and whom a command means."""

import os
from collections.abc import Iterable
from pathlib import Path

from personalgen.catalogue import read
from personalgen.errors import ConfigError
from personalgen.option_values import SALT_VARIABLE
from personalgen.steps.workspace import Workspace
from personalgen.tables.identity import PLAIN, Identity, salt_of

_OTHERS_MAY = 0o077


def own_identity(workspace: Workspace) -> Identity:
    """Return how ids become canonical in this home.

    Raises:
        ConfigError: there is no salt, its file may be read by others, or the catalogue knows people by other ids.
    """
    identity = Identity(_salt(workspace)) if workspace.settings.privacy.hash_ids else PLAIN
    if workspace.has_catalogue:
        _require_same(workspace, identity)
    return identity


def user_named(workspace: Workspace, text: str) -> str:
    """Return the canonical id of whom a person names, as `users_named` does for many."""
    return users_named(workspace, [text])[text]


def users_named(workspace: Workspace, texts: Iterable[str]) -> dict[str, str]:
    """Return the canonical ids of whom a person names, by the text: the plain id, or the one that lists show.

    Only plain ids need the salt.

    Raises:
        ConfigError: as `own_identity`.
    """
    named = tuple(dict.fromkeys(texts))
    needs_salt = workspace.settings.privacy.hash_ids and not all(map(salt_of, named))
    identity = own_identity(workspace) if needs_salt else PLAIN
    return {text: text if salt_of(text) else identity.asked(text) for text in named}


def _salt(workspace: Workspace) -> bytes:
    """Return the salt of the environment, else of the key file."""
    name = workspace.settings.privacy.key_file
    given = os.environ.get(SALT_VARIABLE, "")
    if bool(given) == bool(name):
        raise ConfigError(
            f"privacy.hash_ids needs the salt in {SALT_VARIABLE} or in the file privacy.key_file, found "
            f"{'both' if given else 'neither'}. Nothing was read."
        )
    return given.encode() if given else _from_file(workspace.settings.under_home(name))


def _from_file(path: Path) -> bytes:
    """Return what the file holds, without the end of its line."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise ConfigError(f"privacy.key_file {path} cannot be read: {error.strerror}. Nothing was read.") from None
    if mode & _OTHERS_MAY:
        raise ConfigError(f"privacy.key_file {path} may be used by others: chmod 600 {path}. Nothing was read.")
    if not (salt := content.rstrip(b"\r\n")):
        raise ConfigError(f"privacy.key_file {path} is empty: openssl rand -hex 32 > {path}. Nothing was read.")
    return salt


def _require_same(workspace: Workspace, identity: Identity) -> None:
    """Return if the people of the catalogue, where there are any, have ids of this kind and salt."""
    known = read.some_user_id(workspace.engine)
    if known is None or salt_of(known) == identity.fingerprint:
        return
    ids = {True: "by ids that were hashed with the salt {}", False: "by their plain ids"}
    theirs, ours = (ids[bool(salt)].format(salt) for salt in (salt_of(known), identity.fingerprint))
    raise ConfigError(
        f"The catalogue of {workspace.settings.root} knows people {theirs}, and the settings name them {ours}: "
        "everybody would be a stranger, and who was forgotten would come back. Restore the salt and "
        "privacy.hash_ids, or begin a home of its own with --set home=…. Nothing was read or changed."
    )
