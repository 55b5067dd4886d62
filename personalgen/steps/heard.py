"""Whose opinions are taken: raters and voters are named as users are, and who was forgotten is not heard.

Nobody can tell an analyst's free name from a person's id, so every name is made canonical like an id, and hashed where
ids are.
"""

from collections.abc import Iterable

from personalgen.errors import DataError
from personalgen.steps.erased_ids import people_not_read
from personalgen.steps.own_identity import users_named
from personalgen.steps.workspace import Workspace


def names_heard(workspace: Workspace, names: Iterable[str]) -> dict[str, str]:
    """Return the canonical ids of raters or voters, by the name that each gives; who was forgotten is left out.

    Raises:
        ConfigError: a name is plain and the salt of hashed ids is missing, or the key that recognises erased people is.
    """
    ids, gone = users_named(workspace, names), people_not_read(workspace)
    return {name: user_id for name, user_id in ids.items() if user_id not in gone}


def name_heard(workspace: Workspace, name: str) -> str:
    """Return the canonical id of one rater or voter.

    Raises:
        ConfigError: as `names_heard`.
        DataError: it is somebody who was forgotten.
    """
    found = names_heard(workspace, [name])
    if not found:
        raise DataError("A rater or voter is nobody who was forgotten, and this one was. Nothing was stored.")
    return found[name]
