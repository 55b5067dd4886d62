"""Who was forgotten, without their ids: a keyed digest stands for each, and a source's rows are compared with it.

A plain digest of an id that can be guessed (a number, an address) names the person to whoever tries them all; this one
does so only to who has the key as well, which lies apart from the catalogue.
"""

import hashlib
import hmac
from collections.abc import Iterable

ERASED = "erased:"
KEY_BYTES = 32


class ForgottenIds:
    """Ids of whom nothing is read: `in` answers for a canonical id, whether its name is known or only its digest."""

    def __init__(self, names: Iterable[str] = (), key: bytes = b"") -> None:
        self._names = frozenset(names)
        self._key = key

    def __contains__(self, user_id: object) -> bool:
        if not self._names or not isinstance(user_id, str):
            return False
        return user_id in self._names or (bool(self._key) and erased_name(user_id, self._key) in self._names)


NOBODY = ForgottenIds()


def erased_name(user_id: str, key: bytes) -> str:
    """Return what stands for an erased person: which key, and HMAC-SHA256 of the canonical id under it."""
    return f"{ERASED}{key_name(key)}:{hmac.digest(key, user_id.encode(), 'sha256').hex()}"


def key_name(key: bytes) -> str:
    """Return 8 hex digits that tell one key from another, and nothing of it."""
    return hashlib.sha256(b"personalgen erasure key" + key).hexdigest()[:8]
