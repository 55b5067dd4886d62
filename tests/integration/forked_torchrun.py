"""`torchrun --standalone --nproc-per-node=2` whose workers are forked: torch is imported once instead of three times.

The same launcher and agent, and the same words: `-m MODULE` or a script, and its arguments. A worker is called after
its rank in /proc, where the environment of a forked process cannot be read.
"""

import os
import runpy
import sys
import traceback
import uuid
from pathlib import Path

import torch._dynamo  # what the first optimiser imports
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import personalgen.training.loop

assert torch._dynamo
assert personalgen.training.loop


def work(*words):
    """Run the module or the script as a program."""
    if Path("/proc/self/comm").exists():
        Path("/proc/self/comm").write_text(f"rank{os.environ['RANK']}", encoding="ascii")
    is_module = words[0] == "-m"
    sys.argv = [*words[is_module:]]
    try:
        (runpy.run_module if is_module else runpy.run_path)(sys.argv[0], run_name="__main__")
    except Exception:  # noqa: BLE001 - as the interpreter ends a program
        traceback.print_exc()
        sys.exit(1)


def main():
    """Start two workers; return 1 where one of them failed."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, run_id=str(uuid.uuid4()), rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.1, start_method="fork",
    )  # fmt: skip
    try:
        elastic_launch(config, work)(*sys.argv[1:])
    except ChildFailedError as error:
        print(f"{len(error.failures)} of the workers failed", file=sys.stderr)  # noqa: T201 - torchrun says more
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
