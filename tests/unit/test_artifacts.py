import hashlib
import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalgen.artifacts import (
    MANIFEST,
    atomic_path,
    canonical_json,
    check_file,
    digest_of,
    read_json,
    read_manifest,
    seal_folder,
    sha256_file,
    short_digest,
    weights_key,
    write_bytes,
    write_json,
)
from personalgen.errors import ArtifactError


@dataclass(frozen=True)
class Point:
    name: str
    where: Path
    sizes: tuple[int, ...]


def names(folder):
    """Return the names of everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_a_write_replaces_the_file_as_a_whole(tmp_path):
    """The new content is there, readable by others, without a temporary file beside it."""
    path = write_bytes(tmp_path / "made" / "a.bin", b"old and longer")
    assert write_bytes(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["a.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_temporary_file_becomes_the_file(tmp_path):
    """A rename, not a copy: at no time is half of the new content under the name."""
    path = write_bytes(tmp_path / "a.bin", b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        written = temporary.stat().st_ino
    assert path.stat().st_ino == written


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path):
    """What stood there before stands there after, byte for byte."""
    path = write_bytes(tmp_path / "a.bin", b"old")

    def half_a_write():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_a_write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_failed_first_write_leaves_nothing(tmp_path):
    """There is no empty file that a reader could take for a result."""
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"of no JSON type": object()})
    assert names(tmp_path) == []


def test_the_temporary_file_lies_in_the_same_folder(tmp_path):
    """A rename across file systems would not be atomic; a hidden name keeps half a file out of a glob."""
    with atomic_path(tmp_path / "a.bin") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert not (tmp_path / "a.bin").exists()


def test_a_file_that_is_unchanged_is_opened(tmp_path):
    """An unchanged file opens; the digest is plain sha256."""
    path = write_bytes(tmp_path / "a.bin", b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert check_file(path, sha256_file(path)) == path


def test_a_changed_file_is_refused(tmp_path):
    """One other byte is refused, with both digests and what to do."""
    sha256 = sha256_file(write_bytes(tmp_path / "a.bin", b"abc"))
    (tmp_path / "a.bin").write_bytes(b"abd")
    with pytest.raises(ArtifactError, match=r"expected ba7816bf8f01.*rerun the stage.*Nothing was read"):
        check_file(tmp_path / "a.bin", sha256)


def test_a_file_that_is_gone_is_refused(tmp_path):
    """A missing file is an ArtifactError that names the path."""
    with pytest.raises(ArtifactError, match=re.escape(f"{tmp_path / 'a.bin'} is missing")):
        check_file(tmp_path / "a.bin", "0" * 64)


@given(st.binary())
def test_the_key_of_weights_is_the_start_of_their_digest(data):
    """Non-negative, 63 bits, and written out by another way."""
    digest = hashlib.sha256(data)
    first = int.from_bytes(digest.digest()[:8], "big")
    assert weights_key(digest.hexdigest()) == first % 2**63


def test_large_files_are_digested_in_blocks(tmp_path):
    """A file longer than one block has the digest of its whole content."""
    path = write_bytes(tmp_path / "a.bin", bytes(range(256)) * 8192)
    assert path.stat().st_size == 1 << 21
    path.write_bytes(path.read_bytes() + b"!")
    longer = sha256_file(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert sha256_file(path) != longer


def test_digests_are_fixed_for_ever():
    """Golden values: stored keys of nights and assets depend on them."""
    assert digest_of({"b": [1, 2.5, None], "a": "Zoë"}) == "ce5301a165a9ffa49037ea60da76417b"
    assert digest_of(Point("p", Path("a/b"), (1, 2))) == "1d90dd2efcdebbfa0e88b7217d8f23b4"
    assert short_digest(b"abc") == 6393727014797677913


def test_equal_values_have_equal_digests():
    """Key order, tuples, paths and dataclasses do not matter; a value does."""
    point = Point("p", Path("a/b"), (1, 2))
    assert digest_of(point) == digest_of({"where": "a/b", "sizes": [1, 2], "name": "p"})
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert len({digest_of(value) for value in ({"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"a": None}, {})}) == 6


def test_canonical_json_is_one_line_of_sorted_keys():
    """Nested keys are sorted too, and text stays readable."""
    assert canonical_json({"b": {"d": 1, "c": (2,)}, "a": "ä"}) == '{"a":"ä","b":{"c":[2],"d":1}}'


def test_short_digests_fit_a_signed_column():
    """63 bits, never negative."""
    digests = [short_digest(str(k).encode()) for k in range(1000)]
    assert all(0 <= one < 2**63 for one in digests)
    assert len(set(digests)) == 1000
    assert max(digests) >= 2**62


def test_json_comes_back_as_it_was_written(tmp_path):
    """Dataclasses and tuples come back as JSON's own kinds."""
    path = write_json(tmp_path / "a.json", Point("Zoë", Path("x"), (1,)))
    assert read_json(path) == {"name": "Zoë", "where": "x", "sizes": [1]}
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("damage", [b'{"a": 1', b"\xff\xfe{}", b""])
def test_damaged_json_says_which_file_and_what_to_do(tmp_path, damage):
    """Cut, foreign or empty bytes are an ArtifactError, not a trace from a parser."""
    path = write_bytes(tmp_path / "a.json", damage)
    with pytest.raises(ArtifactError, match=r"a\.json is not valid JSON .*rerun the stage"):
        read_json(path)


def test_missing_json_says_so(tmp_path):
    """A file that is not there is told from a damaged one."""
    with pytest.raises(ArtifactError, match="does not exist"):
        read_json(tmp_path / "a.json")


@pytest.fixture
def sealed(tmp_path):
    """Return a sealed folder with a file in it and one below."""
    write_bytes(tmp_path / "a.bin", b"a")
    write_bytes(tmp_path / "below" / "b.bin", b"b")
    write_bytes(tmp_path / ".c.bin.x.tmp", b"left by a killed process")
    seal_folder(tmp_path, {"rows": 3})
    return tmp_path


def test_a_sealed_folder_tells_its_facts(sealed):
    """The manifest lists every file below the folder, neither itself nor leftovers."""
    assert read_manifest(sealed, verify=True) == {"rows": 3}
    listed = json.loads((sealed / MANIFEST).read_text())["files"]
    assert listed == {"a.bin": sha256_file(sealed / "a.bin"), "below/b.bin": sha256_file(sealed / "below" / "b.bin")}


def test_a_folder_without_manifest_was_never_written(tmp_path):
    """Files alone do not make a finished folder."""
    write_bytes(tmp_path / "a.bin", b"a")
    assert read_manifest(tmp_path) is None


def test_a_sealed_folder_notices_a_missing_file(sealed):
    """Also without verification: a listed file that is gone is found at once."""
    (sealed / "below" / "b.bin").unlink()
    with pytest.raises(ArtifactError, match=r"b\.bin is listed in .* but missing"):
        read_manifest(sealed)


def test_a_changed_file_is_found_where_digests_are_asked_for(sealed):
    """Verification reads every byte; without it only the names are looked at."""
    (sealed / "a.bin").write_bytes(b"A")
    assert read_manifest(sealed) == {"rows": 3}
    with pytest.raises(ArtifactError, match="changed after it was written"):
        read_manifest(sealed, verify=True)
