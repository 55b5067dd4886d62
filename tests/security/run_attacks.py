"""Runs a list of statements, one after another, in a process of its own, and says how each ended and what it cost.

Arguments: the catalogue's URL, the list, seconds for each. JSON on stdout. On PostgreSQL the memory is that of the
server's processes, read from /proc while the statements run. The workers are forked (`forked_workers`): of 225
statements more than half of the time was the start of their interpreters.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg

from personalgen.catalogue import query
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


class Workers:
    """Stands for `subprocess.run` in the product: answers as it does, from a worker that is forked."""

    def __init__(self, engine):
        self.engine, self.process, self.peak_kib = engine, None, 0

    def __call__(self, command, *, input, env, timeout, **_):  # noqa: A002 - the name in subprocess
        if self.process is None:
            words = [*command[: command.index("-m")], str(Path(__file__).with_name("forked_workers.py")), self.engine]
            self.process = subprocess.Popen(words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        late = threading.Timer(timeout, self.process.kill)  # then there is no answer, and no JSON in it
        late.start()
        self.process.stdin.write(input + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        late.cancel()
        self.peak_kib = told["peak_kib"]
        return subprocess.CompletedProcess(command, told["code"], told["out"], "")


def main(url, path, timeout_sec):
    query.subprocess.run = workers = Workers(url.partition(":")[0])
    watch = Watch(postmaster_of(url)) if url.startswith("postgresql") else None
    if watch:
        watch.start()
    told = []
    for statement in (
        line for line in Path(path).read_text(encoding="utf-8").splitlines() if line[:1] not in {"", "#"}
    ):
        began = time.monotonic()
        try:
            result = query.run_sql(url, statement, timeout_sec=timeout_sec)
            outcome, columns = repr(result.rows[:3]), result.columns
        except QueryError as error:
            outcome, columns = str(error), None
        seconds = time.monotonic() - began
        told.append({"statement": statement, "columns": columns, "outcome": outcome, "seconds": seconds})
        if watch:
            told[-1]["server_kib"], watch.peak_kib = watch.peak_kib, 0
    json.dump({"worker_kib": workers.peak_kib, "statements": told}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
