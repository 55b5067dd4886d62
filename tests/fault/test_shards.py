import hashlib
import resource
import signal
import subprocess
import sys
import tarfile
import textwrap
import time

import numpy as np
import pyarrow as pa
import pytest

from personalgen.errors import ArtifactError
from personalgen.generation.roots import LocalRoot
from personalgen.generation.shards import Member, pack, read_member, read_sidecar, seal, sweep_temporaries

# Writes shard after shard, noting each as committed after it is sealed, as a night does. `die_at` kills the
# process from inside, just before or after a rename; without it the test kills from outside, at any moment.
WRITER = textwrap.dedent(
    """
    import io, os, pathlib, signal, sys
    from pyarrow import csv
    from personalgen.generation.roots import LocalRoot
    from personalgen.generation.shards import Member, pack, seal

    root, die_at = pathlib.Path(sys.argv[1]), sys.argv[2]
    replace, shard_index = pathlib.Path.replace, 0

    def deadly(self, target):
        here = f"{shard_index}{pathlib.Path(target).suffix}"
        if die_at == f"before {here}":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(self, target)
        if die_at == f"after {here}":
            os.kill(os.getpid(), signal.SIGKILL)

    pathlib.Path.replace = deadly
    with (root / "committed").open("a") as log:
        print("ready", flush=True)
        while True:
            path = f"shards/{shard_index:06d}.tar"
            if not (root / path).exists():
                members = [Member(f"{shard_index}-{k}", bytes([k]) * 9_000) for k in range(20)]
                text = "member\\n" + "\\n".join(member.name for member in members)
                # from text, for a table made of lists imports pandas, which takes longer than all the rest
                shard = seal(LocalRoot(root), path, pack(members), sidecar=csv.read_csv(io.BytesIO(text.encode())))
                log.write(f"{path} {shard.sha256}\\n")
                log.flush()
                os.fsync(log.fileno())
            shard_index += 1
    """
)


def run_until_killed(root, die_at="", after=None):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root), die_at], stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()
        if after is not None:
            time.sleep(after)
            process.kill()
    assert process.returncode == -signal.SIGKILL


def check(root):
    """Return the committed shards after asserting that everything sealed is whole, and everything committed sealed."""
    for path in (root / "shards").glob("*.tar"):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        sidecar = read_sidecar(LocalRoot(root), path.relative_to(root).as_posix())
        assert sidecar.sha256 == sha256
        with tarfile.open(path) as archive:
            assert archive.getnames() == sidecar.rows["member"].to_pylist()
    committed = dict(line.split() for line in (root / "committed").read_text().splitlines())
    for name, sha256 in committed.items():
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == sha256
    return committed


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("suffix", [".parquet", ".tar"])
def test_a_kill_beside_a_rename_leaves_shards_whole_or_absent(tmp_path, when, suffix):
    """At each point of the protocol: no half shard, no shard without its rows, nothing committed is lost."""
    run_until_killed(tmp_path, die_at=f"{when} 2{suffix}")
    assert sorted(check(tmp_path)) == ["shards/000000.tar", "shards/000001.tar"]
    assert (tmp_path / "shards" / "000002.tar").exists() == ((when, suffix) == ("after", ".tar"))
    assert len(sweep_temporaries(LocalRoot(tmp_path))) == (when == "before")
    assert list(tmp_path.rglob(".*")) == []


def test_kills_at_random_moments_lose_nothing(tmp_path):
    """Killed from outside again and again and restarted on the same folder, the invariants hold each time."""
    rng, n_committed = np.random.default_rng(), []
    for _ in range(6):
        run_until_killed(tmp_path, after=rng.uniform(0.0, 0.25))
        n_committed.append(len(check(tmp_path)))
        sweep_temporaries(LocalRoot(tmp_path))
    assert n_committed == sorted(n_committed)
    assert n_committed[-1] > 0, "no kill came after a commit: the odds are below 1 in 1,000"


@pytest.fixture
def full_disk():
    """A function that lets no file grow beyond so many bytes, as a full disk does; undone afterwards."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n_bytes", [10, 20_000])
def test_a_full_disk_stops_cleanly_and_goes_on_later(tmp_path, full_disk, n_bytes):
    """Full at the sidecar or at the tar: a clear error, nothing sealed, nothing left behind; with space it succeeds."""
    members = [Member(str(k), bytes(10_000)) for k in range(10)]
    root, rows = LocalRoot(tmp_path), pa.table({"member": [member.name for member in members]})
    full_disk(n_bytes)
    with pytest.raises(ArtifactError, match="Nothing was sealed"):
        seal(root, "0.tar", pack(members), sidecar=rows)
    full_disk(resource.RLIM_INFINITY)
    assert not (tmp_path / "0.tar").exists()
    assert list(tmp_path.rglob(".*")) == []
    entry = seal(root, "0.tar", pack(members), sidecar=rows).entries[9]
    data = read_member(root, "0.tar", offset=entry.offset, byte_length=entry.byte_length, crc32=entry.crc32)
    assert data == bytes(10_000)


def test_a_stale_sidecar_is_not_taken_for_that_of_a_later_shard(tmp_path):
    """Killed between sidecar and tar, then sealed with other members: the sidecar that remains is the tar's own."""
    run_until_killed(tmp_path, die_at="after 0.parquet")
    root, path = LocalRoot(tmp_path), "shards/000000.tar"
    assert read_sidecar(root, path) is not None
    assert root.size(path) is None
    shard = seal(root, path, pack([Member("other", b"bytes")]), sidecar=pa.table({"member": ["other"]}))
    found = read_sidecar(root, path)
    assert (found.rows["member"].to_pylist(), found.sha256) == (["other"], shard.sha256)
