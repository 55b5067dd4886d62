"""The command line: parses, calls a step or a flow, prints. Errors become one line and an exit code."""

import os
import sys
from collections.abc import Sequence

from personalgen.errors import PersonalgenError

_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 where the caller can mend it, or 1 where we must."""
    from personalgen.cli.app import app

    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        code = app([each for each in arguments if each != "--debug"], standalone_mode=False)
    except PersonalgenError as error:
        if debug:
            raise
        return _fail(f"personalgen: {error}", error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            raise
        return _fail(f"personalgen: {error}. Mend the path or its rights, and run the command again.", 1)
    except Exception as error:
        if not (
            hasattr(error, "show") and hasattr(error, "exit_code")
        ):  # a usage error of click, or of typer's own copy
            raise
        error.show()
        return int(error.exit_code)
    if code == _INTERRUPTED:
        return _fail("personalgen: interrupted. Run the same command again to go on where it stopped.", code)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(message + "\n")
    return code
