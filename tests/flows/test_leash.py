"""Prefect's temporary server ends with a night that is killed, and with no other; its part is played by a sleep."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from prefect.settings import PREFECT_API_URL

from flows.leash import server_on_leash
from tests import apart

SERVERS = "prefect.server.api.server"
URL = "http://127.0.0.1:1/api"


def with_server(process):
    """Return what stands for Prefect's module of servers, of which one runs in a process, or none."""
    return SimpleNamespace(SubprocessASGIServer=lambda: SimpleNamespace(server_process=process, api_url=URL))


def hold(until, pid):
    """Hold a server on the leash, tell the address that Prefect knows then, and wait for a word."""
    sys.modules[SERVERS] = with_server(SimpleNamespace(pid=pid))
    with server_on_leash():
        until.send(PREFECT_API_URL.value())
        until.recv()


@pytest.fixture
def server():
    """A process that stands for the server."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def night(server):
    """A process that holds the server on the leash, and the pipe to it."""
    mine, other = apart.FORKS.Pipe()
    process = apart.begin(hold, other, server.pid)
    other.close()
    assert mine.recv() == URL
    yield process, mine
    process.kill()
    process.join()
    mine.close()


def test_a_killed_night_takes_its_server_with_it(night, server):
    """By the signal that nobody can catch, which the server gets too."""
    night[0].kill()
    assert server.wait(20) == -9


def test_a_night_that_ends_leaves_its_server_alone(night, server):
    """Prefect ends it itself; the one that waits for the night's death is gone by then."""
    process, until = night
    until.send("end")
    process.join(20)
    assert process.exitcode == 0
    assert server.poll() is None


@pytest.mark.parametrize("module", [None, with_server(None)], ids=["not imported", "not started"])
def test_without_a_server_nothing_is_started(monkeypatch, module):
    """Where it runs elsewhere, there is nobody to wait for, and no other address to tell."""
    monkeypatch.delitem(sys.modules, SERVERS, raising=False)
    if module:
        monkeypatch.setitem(sys.modules, SERVERS, module)
    monkeypatch.setattr("flows.leash.subprocess.Popen", None)
    before = PREFECT_API_URL.value()
    with server_on_leash():
        assert PREFECT_API_URL.value() == before
