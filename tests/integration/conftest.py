"""A PostgreSQL server that lives for the session."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

INITDB = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) + [
    Path(found) for found in [shutil.which("initdb")] if found
]


def as_server_user(*command):
    """Run a PostgreSQL program, which refuses root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture(scope="session")
def postgresql_server():
    """Yield the URL of a PostgreSQL server that is thrown away."""
    if not INITDB:
        pytest.skip("PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin or on the PATH")
    programs, folder = INITDB[-1].parent, Path(tempfile.mkdtemp(prefix="personalgen-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    as_server_user(
        str(programs / "initdb"), "-D", data, "-U", "pg", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync"
    )
    as_server_user(str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", settings, "start")
    try:
        yield f"postgresql://pg@127.0.0.1:{port}"
    finally:
        as_server_user(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)
