import pytest
from sqlalchemy import func, select

from personalgen.catalogue.bulk import chunks, execute_rows, execute_tuples, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.schema import user


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (4, [2, 2]), (5, [2, 2, 1])])
def test_chunks_lose_nothing(n, sizes):
    """Chunks follow each other, at most `size` long, the last one shorter."""
    parts = list(chunks(range(n), 2))
    assert [len(part) for part in parts] == sizes
    assert [value for part in parts for value in part] == list(range(n))


def test_tuples_and_rows_write_the_same(engine):
    """Bare values in any order of names and named values write equal rows, and both count what they wrote."""
    with transaction(engine) as connection:
        insert = insert_into(connection, user).on_conflict_do_nothing()
        names = ("opted_out", "user_id", "segment")
        assert execute_tuples(connection, insert, names, [(0, "a", "s"), (1, "b", None), (0, "a", "other")]) == 2
        assert execute_rows(connection, insert, [{"user_id": "c", "opted_out": True, "segment": "s"}]) == 1
        found = connection.execute(select(user.c.user_id, user.c.segment, user.c.opted_out).order_by(user.c.user_key))
        assert [tuple(row) for row in found] == [("a", "s", False), ("b", None, True), ("c", "s", True)]


def test_no_rows_are_no_statement(engine):
    """An empty batch writes nothing and counts nothing."""
    with transaction(engine) as connection:
        insert = insert_into(connection, user)
        assert execute_tuples(connection, insert, ("user_id",), []) == execute_rows(connection, insert, []) == 0
        assert connection.scalar(select(func.count()).select_from(user)) == 0
