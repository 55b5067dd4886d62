"""Connections of a pool: a dead one is found out before it is used, and a reader begins no transaction on a server."""

import time

from sqlalchemy import event, text

from personalgen.catalogue import engine as opening
from personalgen.catalogue import read
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.migrations import upgrade
from tests.integration.catalogue.conftest import on_server


def moments(opened):
    """Return when each of two statements began its transaction."""
    with opened as connection:
        return [connection.execute(text("SELECT now()")).scalar_one() for _ in range(2)]


def test_a_connection_that_the_server_closed_is_replaced(postgresql_server, monkeypatch):
    """A question after the server has ended idle connections is answered by a new one."""
    on_server(postgresql_server, "CREATE DATABASE pooled")
    engine = open_catalogue(f"{postgresql_server}/pooled")
    try:
        upgrade(engine)
        assert read.nights(engine) == ()
        on_server(postgresql_server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'pooled'")
        monkeypatch.setattr(opening, "_IDLE_SEC", 0.05)
        time.sleep(0.1)
        assert read.nights(engine) == ()
    finally:
        engine.dispose()
        on_server(postgresql_server, "DROP DATABASE pooled")


def test_a_reader_of_a_server_sends_its_question_alone(postgresql_server):
    """No ping and no transaction around it, but a writer has one."""
    on_server(postgresql_server, "CREATE DATABASE alone")
    engine = open_catalogue(f"{postgresql_server}/alone")
    try:
        upgrade(engine)
        read.nights(engine)
        sent = []
        event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: sent.append(statement))
        read.nights(engine)
        assert len(sent) == 1
        assert len(set(moments(read.reading(engine)))) == 2
        assert len(set(moments(opening.transaction(engine)))) == 1
    finally:
        engine.dispose()
        on_server(postgresql_server, "DROP DATABASE alone")
