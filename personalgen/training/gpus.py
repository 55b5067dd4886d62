"""One training on a GPU at a time, over all homes and all people of a machine: a locked file for each device."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

from personalgen.errors import UnfinishedError

FOLDER = Path(tempfile.gettempdir()) / "personalgen-gpus"


@contextmanager
def alone_on(gpus: Sequence[str], busy: str, *, say: Callable[[str], None], folder: Path = FOLDER) -> Iterator[None]:
    """Hold the locks of GPUs, named by their UUIDs, in an order that is the same for everybody; none needs none.

    The locks go with the process, however it ends. `busy` is `train.gpu_busy`.

    Raises:
        UnfinishedError: another training holds one of them, and `busy` is "refuse".
    """
    with ExitStack() as held:
        for gpu in sorted(gpus) if busy != "share" else ():
            held.enter_context(_alone(folder, gpu, busy, say))
        yield


def own_gpus(device: torch.device) -> tuple[str, ...]:
    """Return the UUIDs of what this process locks: its GPU, or all of its team's where it is the first on its machine.

    The CPU needs no lock.
    """
    if device.type != "cuda":
        return ()
    n_beside, own = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if n_beside > 1:
        return tuple(map(_uuid, range(n_beside))) if own == 0 else ()
    return (_uuid(torch.cuda.current_device() if device == torch.device("cuda") else device.index),)


def _uuid(index: int) -> str:
    return str(torch.cuda.get_device_properties(index).uuid)


@contextmanager
def _alone(folder: Path, gpu: str, busy: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of one GPU."""
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)  # every user of the machine may lock, and none may remove another's
    descriptor = _opened(folder / f"{gpu}.lock")
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if busy == "refuse":
                raise UnfinishedError(
                    f'another training holds the GPU {gpu}, and train.gpu_busy is "refuse". Run the command again when '
                    'it is over, or set train.gpu_busy = "wait". Nothing was trained.'
                ) from None
            say(f"waits for the GPU {gpu}, which another training holds")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Return the descriptor of a lock that everybody can read, made by whoever is the first.

    Linux (fs.protected_regular) lets nobody open another user's file in such a folder where they would make it.
    """
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        pass
    try:
        made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444)
    except FileExistsError:  # made just now
        return os.open(path, os.O_RDONLY)
    os.fchmod(made, 0o444)  # whatever the umask
    return made
