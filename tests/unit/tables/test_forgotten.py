import pytest

from personalgen.tables.forgotten import ERASED, NOBODY, ForgottenIds, erased_name, key_name

KEY, OTHER_KEY = bytes(range(32)), bytes(32)


def test_nobody_is_nobody():
    """Without names nobody is forgotten, whatever the key."""
    assert "ada" not in NOBODY
    assert "ada" not in ForgottenIds((), KEY)


def test_a_person_is_known_by_name_or_by_digest():
    """Who is being erased still has a name, who was erased has a digest; others are neither."""
    people = ForgottenIds({"ada", erased_name("bob", KEY)}, KEY)
    assert [name in people for name in ("ada", "bob", "eve", "")] == [True, True, False, False]


def test_a_digest_says_nothing_without_its_key():
    """Another key finds nobody; without one only names are known."""
    names = {erased_name("bob", KEY)}
    assert "bob" not in ForgottenIds(names, OTHER_KEY)
    assert "bob" not in ForgottenIds(names)


@pytest.mark.parametrize("user_id", ["bob", "höhe", "erased:", "x" * 255])
def test_a_name_tells_its_key_and_nothing_of_the_id(user_id):
    """HMAC-SHA256 under the key, after the key's own name; the same every time."""
    import hashlib
    import hmac

    expected = hmac.new(KEY, user_id.encode(), hashlib.sha256).hexdigest()
    assert erased_name(user_id, KEY) == f"{ERASED}{key_name(KEY)}:{expected}"
    assert key_name(KEY) != key_name(OTHER_KEY)
