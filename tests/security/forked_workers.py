"""Query workers that are forked from one process, which has loaded all that a worker loads.

Argument: sqlite or postgresql. One JSON request a line on stdin; for each, a JSON line with the worker's exit status,
its output, and the most memory that a worker has held so far. A worker is the product's own `main` in a process of its
own, with its limits and its timer; what it does not do again is start an interpreter and import.
"""

import io
import json
import os
import resource
import sys

from personalgen.catalogue import query_worker


def forked(request):
    """Return (exit status as subprocess has it, output) of a worker of its own for this request."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            sys.stdin = io.StringIO(request)
            with os.fdopen(writing, "w", encoding="utf-8", errors="surrogatepass") as sys.stdout:
                query_worker.main()
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="surrogatepass") as answer:
        out = answer.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), out


def main(engine):
    if engine == "postgresql":
        import psycopg

        from personalgen.catalogue import query_postgresql

        assert psycopg
        assert query_postgresql
    for request in sys.stdin:
        code, out = forked(request)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        sys.__stdout__.write(json.dumps({"code": code, "out": out, "peak_kib": peak}) + "\n")
        sys.__stdout__.flush()


if __name__ == "__main__":
    main(sys.argv[1])
