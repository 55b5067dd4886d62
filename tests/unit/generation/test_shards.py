import io
import subprocess
import tarfile
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalgen.errors import ArtifactError, InternalError
from personalgen.generation.roots import LocalRoot
from personalgen.generation.shards import Member, pack, read_member, read_sidecar, seal, sweep_temporaries

MEMBERS = [Member("000000000001-00.png", b"one"), Member("000000000001-01.png", b""), Member("b.png", bytes(1024))]
TABLE = pa.table({"member": [member.name for member in MEMBERS]})
names = st.text("abcdefghij0123456789-._", min_size=1, max_size=100).filter(lambda name: name.strip("."))


def write_shard(folder, members, *, path="0.tar", **options):
    """Pack and seal a shard, as a night does for each bucket."""
    return seal(LocalRoot(folder), path, pack(members), **options)


@given(st.dictionaries(names, st.binary(max_size=2000), max_size=8))
def test_tarfile_reads_what_was_packed(content):
    """Any members come back by another reader: names, bytes, offsets, and no owner, time or mode of this machine."""
    packed = pack([Member(name, data) for name, data in content.items()])
    assert len(packed.data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(packed.data), mode="r:") as archive:
        found = archive.getmembers()
        assert [member.name for member in found] == list(content)
        for member, entry in zip(found, packed.entries, strict=True):
            data = archive.extractfile(member).read()
            assert data == content[member.name]
            assert (member.offset_data, member.size) == (entry.offset, entry.byte_length)
            assert entry.crc32 == zlib.crc32(data)
            assert packed.data[entry.offset : entry.offset + entry.byte_length] == data
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)


def test_plain_tar_extracts_a_shard(tmp_path):
    """The archive is not ours alone: the tar of the machine lists and extracts it without a complaint."""
    shard = write_shard(tmp_path, MEMBERS)
    done = subprocess.run(
        ["tar", "-xvf", tmp_path / shard.path, "-C", tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [member.name for member in MEMBERS]
    assert done.stderr == ""
    assert all((tmp_path / member.name).read_bytes() == member.data for member in MEMBERS)


def test_bytes_depend_on_the_members_alone(tmp_path):
    """The same members give the same digest, at another place and time; other members another."""
    shards = [write_shard(tmp_path / name, MEMBERS, sidecar=TABLE) for name in ("a", "b")]
    assert shards[0].sha256 == shards[1].sha256
    assert (tmp_path / "a" / shards[0].sidecar).read_bytes() == (tmp_path / "b" / shards[1].sidecar).read_bytes()
    assert write_shard(tmp_path / "c", MEMBERS[:2]).sha256 != shards[0].sha256


def test_members_are_read_by_offset(tmp_path):
    """An entry is enough to read one image, checked by its CRC."""
    shard = write_shard(tmp_path, MEMBERS)
    for member, entry in zip(MEMBERS, shard.entries, strict=True):
        data = read_member(
            LocalRoot(tmp_path), shard.path, offset=entry.offset, byte_length=entry.byte_length, crc32=entry.crc32
        )
        assert data == member.data


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_damage_is_noticed(tmp_path, damage):
    """A flipped bit, a cut file and a missing file are errors, never an image."""
    shard = write_shard(tmp_path, [Member("a", b"payload")])
    path = tmp_path / shard.path
    entry, data = shard.entries[0], bytearray(path.read_bytes())
    data[entry.offset] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flip" else data[: entry.offset + 3])
    with pytest.raises(ArtifactError):
        read_member(
            LocalRoot(tmp_path), shard.path, offset=entry.offset, byte_length=entry.byte_length, crc32=entry.crc32
        )


def test_the_sidecar_names_the_digest_of_its_tar(tmp_path):
    """Rows, digest and facts come back; without a sidecar, or with a damaged one, there is nothing to trust."""
    root = LocalRoot(tmp_path)
    shard = write_shard(tmp_path, MEMBERS, sidecar=TABLE, facts={"encoder": "png", "operating_point": {"psi": 0.7}})
    found = read_sidecar(root, shard.path)
    assert (found.rows["member"].to_pylist(), found.sha256) == (TABLE["member"].to_pylist(), shard.sha256)
    assert found.facts == {"encoder": "png", "operating_point": {"psi": 0.7}}
    root.put(shard.sidecar, b"half")
    assert read_sidecar(root, shard.path) is None
    root.remove(shard.sidecar)
    assert read_sidecar(root, shard.path) is None


def test_a_sealed_shard_is_never_overwritten(tmp_path):
    """The catalogue may point into it."""
    shard = write_shard(tmp_path, MEMBERS)
    with pytest.raises(InternalError, match="never overwritten"):
        write_shard(tmp_path, MEMBERS[:1])
    assert pack(MEMBERS).data == (tmp_path / shard.path).read_bytes()


@pytest.mark.parametrize("name", ["", "x" * 101, "ä" * 51])
def test_names_that_do_not_fit_are_refused(name):
    """A header holds 100 bytes of name; nothing is cut silently."""
    with pytest.raises(InternalError, match="header"):
        pack([Member(name, b"")])


def test_a_name_comes_once():
    """A second member of the same name could never be extracted."""
    with pytest.raises(InternalError, match="share names"):
        pack([MEMBERS[0], MEMBERS[0]])


def test_sweep_removes_temporaries_only(tmp_path):
    """What killed writers left goes, at any depth; sealed files stay."""
    root = LocalRoot(tmp_path)
    shard = write_shard(tmp_path, MEMBERS, path="shards/night=000001/0.tar", sidecar=TABLE)
    left = ["shards/.x.parquet.def.tmp", "shards/night=000001/.0.tar.abc.tmp"]
    for path in left:
        (tmp_path / path).write_bytes(b"half")
    assert list(root.files("shards")) == sorted([shard.path, shard.sidecar])
    assert sweep_temporaries(root) == left
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["0.parquet", "0.tar"]
    assert sweep_temporaries(root) == []
