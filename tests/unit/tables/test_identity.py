import hmac

import pyarrow as pa
import pytest

from personalgen.errors import ConfigError
from personalgen.tables.identity import PLAIN, Identity, salt_of
from personalgen.tables.ids import canonical_ids

SALT = b"a salt of more than 16 bytes"


def test_a_hashed_id_is_the_hmac_of_the_plain_one():
    """Its digest is the first 128 bits of HMAC-SHA256 under the salt, and it names the salt, not the person."""
    identity = Identity(SALT)
    kind, salt, digest = identity.user_id("ada").split(":")
    assert (kind, salt, digest) == (
        "hashed",
        identity.fingerprint,
        hmac.digest(SALT, b"user\0ada", "sha256").hex()[:32],
    )
    assert identity.user_id("ada") != identity.user_id("bob")
    assert salt_of(identity.user_id("ada")) == identity.fingerprint != Identity(SALT + b"!").fingerprint


def test_without_a_salt_ids_stay():
    """Plain ids, columns and cells are as they were, and name no salt."""
    column = canonical_ids(pa.array(["ada", None, "ada"]))
    assert PLAIN.users(column) is column
    assert (PLAIN.user_id("ada"), PLAIN.asked("ada"), PLAIN.fingerprint, salt_of("ada")) == ("ada", "ada", "", "")
    assert PLAIN.shown("ada") == "'ada' (str)"


def test_a_column_keeps_its_rows():
    """Each row has the id of its own person; a row without one has none."""
    identity = Identity(SALT)
    column = identity.users(canonical_ids(pa.array([7, None, 9, 7])))
    assert [column.at(row) for row in range(4)] == [
        identity.user_id("7"), None, identity.user_id("9"), identity.user_id("7"),
    ]  # fmt: skip


def test_a_person_may_be_asked_for_by_either_id():
    """The plain id and the one that lists show mean the same; an id under another salt is taken as plain text."""
    identity = Identity(SALT)
    known, foreign = identity.user_id("ada"), Identity(SALT + b"!").user_id("ada")
    assert identity.asked("ada") == identity.asked(known) == known
    assert identity.asked(foreign) == identity.user_id(foreign)
    assert identity.asked("e\u0301") == identity.user_id("\u00e9")


def test_nothing_shows_the_salt_or_a_cell():
    """Neither the representation, nor a cell in a quarantine detail."""
    identity = Identity(SALT)
    assert SALT.decode() not in repr(identity)
    assert identity.shown("ada@example.org") == "hidden (str)"


def test_a_short_salt_is_refused():
    """What can be tried out is no secret."""
    with pytest.raises(ConfigError, match="has 5 bytes, expected at least 16"):
        Identity(b"short")
