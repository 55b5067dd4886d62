"""Hashed ids: where it is asked for, a keyed digest of a user's id *is* the canonical id, from the reader on.

The plain id then stands in no file, row, log or seed of ours: only who has the salt can tell whose row it is, and only
by trying ids. Each digest names its salt, so ids of two salts are never taken for one another.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from typing import Any

from personalgen.errors import ConfigError
from personalgen.tables.columns import shown
from personalgen.tables.ids import IdColumn, canonical_id

LEAST_SALT_BYTES = 16
_HASHED = re.compile(r"hashed:([0-9a-f]{8}):[0-9a-f]{32}")
_DIGEST_BYTES = 16


@dataclass(frozen=True, repr=False)
class Identity:
    """How the ids of users become canonical; without a salt they stay as they are."""

    salt: bytes = b""

    def __post_init__(self) -> None:
        """Refuse a salt that can be tried out.

        Raises:
            ConfigError: it is too short.
        """
        if self.salt and len(self.salt) < LEAST_SALT_BYTES:
            raise ConfigError(
                f"the salt for user ids has {len(self.salt)} bytes, expected at least {LEAST_SALT_BYTES}. Make one "
                "with `openssl rand -hex 32`. Nothing was read."
            )

    @property
    def hashes(self) -> bool:
        """Whether ids are hashed."""
        return bool(self.salt)

    @property
    def fingerprint(self) -> str:
        """8 hex digits that tell one salt from another, and nothing of it; empty where ids are plain."""
        return hashlib.sha256(b"personalgen user salt" + self.salt).hexdigest()[:8] if self.salt else ""

    def user_id(self, plain: str) -> str:
        """Return the canonical id of a user by the plain canonical one: HMAC-SHA256 under the salt, 128 bits of it."""
        if not self.salt:
            return plain
        digest = hmac.digest(self.salt, b"user\0" + plain.encode(), "sha256")[:_DIGEST_BYTES]
        return f"hashed:{self.fingerprint}:{digest.hex()}"

    def asked(self, text: str) -> str:
        """Return the canonical id of a user whom a person names: by the plain id, or by one that we showed."""
        if self.salt and salt_of(text) == self.fingerprint:
            return text
        return self.user_id(canonical_id(text) or text)

    def users(self, column: IdColumn) -> IdColumn:
        """Return the canonical ids of a column of plain ones, each distinct one hashed once."""
        if not self.salt:
            return column
        return replace(column, ids=tuple(None if one is None else self.user_id(one) for one in column.ids))

    def shown(self, value: Any) -> str:
        """Return a user's cell as a quarantine detail may show it: where ids are hashed, its type alone."""
        return f"hidden ({type(value).__name__})" if self.salt else shown(value)


PLAIN = Identity()


def salt_of(user_id: str) -> str:
    """Return the fingerprint of the salt that an id was hashed with; empty for a plain id."""
    found = _HASHED.fullmatch(user_id)
    return found[1] if found else ""
