"""The Prefect server of a home, where something else is in its way."""

import socket

import pytest

from flows import server
from personalgen.errors import ConfigError


def test_a_port_that_is_in_use_is_refused_before_anything_starts(tmp_path):
    """What answers there, perhaps the server of another home, is not taken for one's own."""
    said = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = f"port {port} of 127.0.0.1 is in use.*schedule.port.*Nothing was scheduled"
        with pytest.raises(ConfigError, match=told), server.kept_server(tmp_path / "prefect", port, say=said.append):
            raise AssertionError
    assert said == []
    assert server.running_server(tmp_path / "prefect") is None
