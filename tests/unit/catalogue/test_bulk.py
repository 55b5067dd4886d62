import pytest
from sqlalchemy import BigInteger, bindparam, func, literal, select

from personalgen.catalogue.bulk import chunks, dialect_insert, execute_rows, execute_tuples, execute_upsert, insert_into
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


def test_an_upsert_is_built_once_and_bound_each_time(engine):
    """The second call writes its own values by the statement of the first; what exists is not counted."""
    built = []

    def build(dialect):
        built.append(dialect.name)
        key = bindparam("key", type_=BigInteger)
        row = select(key, key.op("||")(""), literal(False))
        return (
            dialect_insert(dialect, user)
            .from_select(["user_key", "user_id", "opted_out"], row)
            .on_conflict_do_nothing()
        )

    with transaction(engine) as connection:
        assert [execute_upsert(connection, build, key=key) for key in (7, 8, 7)] == [1, 1, 0]
        assert connection.scalars(select(user.c.user_id).order_by(user.c.user_key)).all() == ["7", "8"]
    assert built == [engine.dialect.name]


def test_no_rows_are_no_statement(engine):
    """An empty batch writes nothing and counts nothing."""
    with transaction(engine) as connection:
        insert = insert_into(connection, user)
        assert execute_tuples(connection, insert, ("user_id",), []) == execute_rows(connection, insert, []) == 0
        assert connection.scalar(select(func.count()).select_from(user)) == 0
