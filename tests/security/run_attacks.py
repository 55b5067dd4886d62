"""Runs a list of statements, one after another, in a process of its own, and says how each ended and what it cost.

Arguments: the catalogue's URL, the list, seconds for each. JSON on stdout. On PostgreSQL the memory is that of the
server's processes, read from /proc while the statements run.
"""

import json
import resource
import sys
import threading
import time
from pathlib import Path

import psycopg

from personalgen.catalogue.query import run_sql
from personalgen.errors import QueryError


def anonymous_kib(pid):
    """Return the private memory of a process, 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


class Watch(threading.Thread):
    """Reads the memory of a server's children until it is told to stop."""

    def __init__(self, postmaster):
        super().__init__(daemon=True)
        self.children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        self.peak_kib, self.going = 0, True

    def run(self):
        while self.going:
            self.peak_kib = max([self.peak_kib, *map(anonymous_kib, self.children.read_text().split())])
            time.sleep(0.005)


def postmaster_of(url):
    """Return the process that a server's backends are children of."""
    with psycopg.connect(url) as connection:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        status = Path(f"/proc/{backend}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("PPid:"))


def main(url, path, timeout_sec):
    watch = Watch(postmaster_of(url)) if url.startswith("postgresql") else None
    if watch:
        watch.start()
    told = []
    for statement in (
        line for line in Path(path).read_text(encoding="utf-8").splitlines() if line[:1] not in {"", "#"}
    ):
        began = time.monotonic()
        try:
            outcome, allowed = repr(run_sql(url, statement, timeout_sec=timeout_sec).rows[:3]), True
        except QueryError as error:
            outcome, allowed = str(error), False
        seconds = time.monotonic() - began
        told.append({"statement": statement, "allowed": allowed, "outcome": outcome, "seconds": seconds})
        if watch:
            told[-1]["server_kib"], watch.peak_kib = watch.peak_kib, 0
    worker_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    json.dump({"worker_kib": worker_kib, "statements": told}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
