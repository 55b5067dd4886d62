"""One behaviour for every place that shards may lie in: a folder, any store of fsspec's, S3."""

import hashlib
import itertools
import os

import pytest

from personalgen.errors import ArtifactError, ConfigError
from personalgen.generation.roots import open_root
from personalgen.generation.shards import Member, pack, read_member, read_sidecar, seal

PREFIXES = itertools.count()


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request, tmp_path):
    """Return the path or URL of a place that nobody has used."""
    name = f"prefix-{next(PREFIXES)}"
    if request.param == "s3":
        return f"{request.getfixturevalue('s3_bucket')}/{name}"
    return str(tmp_path / name) if request.param == "folder" else f"memory://{name}"


@pytest.fixture
def root(place, tmp_path):
    return open_root(place, default=tmp_path / "unused")


def test_what_was_put_is_read_whole_and_in_parts(root):
    """Bytes, ranges, size and digest come back; a range past the end is shorter."""
    data = bytes(range(256)) * 40
    root.put("shards/night=000001/0.tar", data)
    path = "shards/night=000001/0.tar"
    assert root.read(path) == data
    assert root.read(path, offset=3, length=5) == data[3:8]
    assert root.read(path, offset=len(data) - 2, length=100) == data[-2:]
    assert (root.size(path), root.sha256(path)) == (len(data), hashlib.sha256(data).hexdigest())


def test_what_is_not_there_is_said_to_be_absent(root):
    """No size, no files; reading it is an error that names place and file."""
    assert (root.size("shards/0.tar"), root.files("shards"), root.temporaries("shards")) == (None, {}, [])
    for ask in (root.read, root.sha256):
        with pytest.raises(ArtifactError, match=r"shards/0.tar in the shard root .* could not be read"):
            ask("shards/0.tar")
    root.remove("shards/0.tar")


def test_files_are_listed_with_their_sizes(root):
    """Below a folder, at any depth, by path; nothing beside it, and what was removed is gone at once."""
    for path in ("shards/b/1.tar", "shards/a/0.tar", "shards-old/2.tar"):
        root.put(path, path.encode())
    assert root.files("shards") == {"shards/a/0.tar": 14, "shards/b/1.tar": 14}
    root.remove("shards/a/0.tar")
    assert list(root.files("shards")) == ["shards/b/1.tar"]
    assert root.size("shards/a/0.tar") is None


def test_a_file_is_replaced_as_a_whole(root):
    """The second put is all that is there."""
    root.put("shards/0.tar", b"long content")
    root.put("shards/0.tar", b"short")
    assert root.read("shards/0.tar") == b"short"


def in_memory(path):
    """Return whether the system holds the start of a file in its cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(handle, [bytearray(16)], 0, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs a system that tells what is in its cache")
def test_a_folder_s_shards_do_not_stay_in_memory(tmp_path):
    """What was put is on disk alone; a file written plainly stays in the cache, until somebody drops it."""
    plain = tmp_path / "plain"
    with plain.open("wb") as stream:
        stream.write(bytes(9_000))
        stream.flush()
        os.fsync(stream.fileno())
        assert in_memory(plain)
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(plain):
        pytest.skip("the temporary folder lies in memory")
    root = open_root("", default=tmp_path)
    root.put("shards/0.tar", bytes(9_000))
    assert not in_memory(tmp_path / "shards/0.tar")


def test_bytes_are_overwritten_only_in_place(root):
    """A folder changes bytes where they are; a store says that it cannot, and nothing is changed."""
    root.put("shards/0.tar", b"0123456789")
    if root.in_place:
        root.overwrite("shards/0.tar", [(2, b"xx"), (8, b"y")])
        assert root.read("shards/0.tar") == b"01xx4567y9"
    else:
        with pytest.raises(ArtifactError, match="only ever replaced"):
            root.overwrite("shards/0.tar", [(2, b"xx")])
        assert root.read("shards/0.tar") == b"0123456789"


def test_a_shard_is_sealed_and_read(root):
    """A member comes back by its place in the tar, the rows' digest is the tar's; damage is noticed."""
    import pyarrow as pa

    shard = seal(root, "shards/0.tar", pack([Member("a", b"one"), Member("b", b"two")]), sidecar=pa.table({"m": [1]}))
    entry = {"offset": shard.entries[1].offset, "byte_length": 3, "crc32": shard.entries[1].crc32}
    assert read_member(root, shard.path, **entry) == b"two"
    assert read_sidecar(root, shard.path).sha256 == root.sha256(shard.path) == shard.sha256
    with pytest.raises(ArtifactError, match="holds other bytes"):
        read_member(root, shard.path, **{**entry, "crc32": 1})


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://key:secret@bucket/x", "come from the environment"),
        ("s3://", "names no bucket"),
        ("s4://bucket/x", "cannot be opened"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(tmp_path, url, told):
    """In words that say what to write, and without the password."""
    if url == "s3://":
        pytest.importorskip("s3fs")
    with pytest.raises(ConfigError, match=told) as caught:
        open_root(url, default=tmp_path)
    assert "secret@" not in str(caught.value)


def test_a_store_without_its_package_says_so(tmp_path):
    """What is to be installed is named."""
    with pytest.raises(ConfigError, match="gcsfs"):
        open_root("gs://bucket/prefix", default=tmp_path)


def test_a_store_that_does_not_answer_is_an_error_of_ours(s3_bucket, tmp_path):
    """A bucket that is not there: one error of the tree, with the place."""
    missing = open_root("s3://no-such-bucket/prefix", default=tmp_path)
    with pytest.raises(ArtifactError, match="no-such-bucket"):
        missing.put("shards/0.tar", b"x")


def test_a_path_is_below_the_default_folder_unless_absolute(tmp_path):
    """Empty is the default folder; file:// is a folder, too."""
    assert open_root("", default=tmp_path).url == str(tmp_path)
    assert open_root("images", default=tmp_path).url == str(tmp_path / "images")
    assert open_root("/srv/images", default=tmp_path).url == "/srv/images"
    assert open_root("file:///srv/images", default=tmp_path).url == "/srv/images"
