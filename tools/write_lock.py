"""Writes requirements.lock: the exact version of every package that the project, its extras and its build need.

Reads pyproject.toml and the metadata of the packages installed beside the running interpreter; asks no index. To move
to newer versions, install them into .venv, run the tests, then `make lock`.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Exact versions of everything that personalgen, its extras {extras} and its build need, as tested
# together on Python {python}. Written by tools/write_lock.py (`make lock`); `make setup` installs it.
# torch is pinned without a build: pip takes the build that its index offers, and README.md tells how to choose one.
# What a CUDA build brings along ({build_specific}) is that build's business and is not pinned here.
"""
_NEWEST_PATCH = {"python_full_version": f"{sys.version_info.major}.{sys.version_info.minor}.99"}
"""What only early patches of a Python need is not pinned: pip adds it there, and the lock is the same on all."""


def read_project() -> dict[str, Any]:
    """Return pyproject.toml as a mapping."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def direct_requirements(project: dict[str, Any]) -> list[Requirement]:
    """Return what pyproject.toml asks for itself: dependencies, locked extras, build."""
    optional = project["project"]["optional-dependencies"]
    texts = [
        *project["project"]["dependencies"],
        *(text for extra in project["tool"]["lock"]["extras"] for text in optional[extra]),
        *project["build-system"]["requires"],
    ]
    return [Requirement(text) for text in texts]


def closure(project: dict[str, Any]) -> dict[str, str]:
    """Return canonical name -> public version of every installed package that the direct requirements lead to.

    The name carries the extras that somebody asks for: pip takes `name[extra]` for a package of its own, and would look
    through the releases of one that is pinned only without them.
    """
    skipped = project["tool"]["lock"]["build-specific"]
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = direct_requirements(project)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if any(fnmatch(name, pattern) for pattern in skipped):
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                versions[name] = Version(_installed(requirement).version).public
                waiting.extend(_children(name, extra))
    return {_with_extras(name, seen): version for name, version in versions.items()}


def render(project: dict[str, Any]) -> str:
    """Return the text of requirements.lock; torch stands first, the rest by name."""
    versions = closure(project)
    lock = project["tool"]["lock"]
    names = sorted(versions, key=lambda name: (name != "torch", name))
    header = HEADER.format(
        extras=", ".join(lock["extras"]),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        build_specific=", ".join(lock["build-specific"]),
    )
    return header + "".join(f"{name}=={versions[name]}\n" for name in names)


def read_lock() -> dict[str, str]:
    """Return canonical name -> version as requirements.lock has them."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name.partition("[")[0]): version for name, version in pins}


def _with_extras(name: str, seen: set[tuple[str, str]]) -> str:
    extras = ",".join(sorted(extra for found, extra in seen if found == name and extra))
    return f"{name}[{extras}]" if extras else name


def _installed(requirement: Requirement) -> metadata.Distribution:
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        message = f"{requirement} is needed but not installed. Install it into .venv first. Nothing was written."
        raise SystemExit(message) from None
    if not requirement.specifier.contains(found.version, prereleases=True):
        message = f"{requirement} is needed but {found.version} is installed. Nothing was written."
        raise SystemExit(message)
    return found


def _children(name: str, extra: str) -> Iterator[Requirement]:
    """Yield what a package needs on this interpreter and platform, with `extra` or, where it is empty, without any."""
    for text in metadata.distribution(name).requires or []:
        requirement = Requirement(text)
        if requirement.marker is None:
            applies = not extra
        else:
            without = requirement.marker.evaluate({"extra": "", **_NEWEST_PATCH})
            applies = requirement.marker.evaluate({"extra": extra, **_NEWEST_PATCH}) and not (extra and without)
        if applies:
            yield requirement


def main() -> int:
    """Write the lock, or with --check say whether it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the file is stale")
    options = parser.parse_args()
    text = render(read_project())
    if not options.check:
        LOCK.write_text(text, encoding="utf-8")
    elif LOCK.read_text(encoding="utf-8") != text:
        print(f"{LOCK.name} is stale: run `make lock`. Nothing was written.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
