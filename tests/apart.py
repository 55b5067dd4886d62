"""Functions in processes of their own, forked from one that has imported everything.

A new interpreter imports for five seconds what a night needs, which is longer than most of what is tried in it.
"""

import atexit
import importlib
import multiprocessing
import os
import runpy
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["flows.nightly", "mlflow.store.tracking.sqlalchemy_store", "personalgen.cli.app", "psycopg", "pytest"]
)
_RUN_AS = "__apart__"


@dataclass(frozen=True)
class Done:
    """How a process ended, less than zero by a signal, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def begin(function, *given, environment=None, out=os.devnull, err=os.devnull):
    """Start a function of a module in a process that leads a group of its own; return the process."""
    work = {
        "MODULE": function.__module__,
        "NAME": function.__name__,
        "GIVEN": given,
        "ENVIRONMENT": dict(environment or os.environ),
        "PRINTS": (str(out), str(err)),
    }
    process = FORKS.Process(target=runpy.run_path, args=(__file__, work, _RUN_AS))
    process.start()
    return process


def run(function, *given, environment=None, timeout=300):
    """Run a function of a module in a process of its own; return how it ended."""
    with tempfile.TemporaryDirectory(prefix="personalgen-apart-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = begin(function, *given, environment=environment, out=out, err=err)
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutError(f"{function.__name__} ran for {timeout} seconds: {err.read_text()[-2000:]}")
        return Done(process.exitcode, out.read_text(), err.read_text())


def command_line(*arguments):
    """Be `personalgen` with these arguments."""
    from personalgen.cli import main

    return main([*arguments])


def plain_night(config, *overrides, **display):
    """Run a night over the steps themselves, for good: this process has no Prefect tasks any more."""
    import torch

    from flows import nightly as module
    from personalgen.config import load_settings
    from personalgen.steps import Workspace
    from personalgen.steps.night import STAGES

    torch.set_num_threads(1)
    for name in STAGES:
        setattr(module, name, getattr(module, name).fn)
    return module.nightly.fn(Workspace(load_settings(Path(config), overrides), **display))


def _be(module, name, given, environment, prints):
    """Be the process: what the function returns is the exit code."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for path, output in zip(prints, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), output)
    code = 1
    try:
        sys.modules["tests"] = tests = ModuleType("tests")  # a dependency of ours installs a package of this name
        tests.__path__ = [str(Path(__file__).parent)]
        code = getattr(importlib.import_module(module), name)(*given) or 0
    except BaseException:  # noqa: BLE001 - whatever ends a process is told on its standard error
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == _RUN_AS:
    _be(MODULE, NAME, GIVEN, ENVIRONMENT, PRINTS)  # noqa: F821 - given by `begin`
