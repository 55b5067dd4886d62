"""Writes THIRD_PARTY.md: every locked package and every file of weights, with version, licence and home page."""

import argparse
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from tools.licences import Licence, field_of, licence_of, read_table
from tools.write_lock import ROOT, read_lock

THIRD_PARTY = ROOT / "THIRD_PARTY.md"
HOME_LABELS = (
    "homepage",
    "home",
    "home-page",
    "repository",
    "source",
    "source code",
    "github",
    "code",
    "documentation",
)
HEADER = """\
# Third-party packages and model files

Written from requirements.lock by `make lock` (tools/write_third_party.py); not edited by hand. None of these packages
is part of this repository: pip installs them. `tests/unit/test_licences.py` fails on a package or a model file that is
not listed here, and on one under GPL, AGPL or non-commercial terms.

Binary wheels carry libraries of their own, under the licences in their `dist-info` folder: among them libgfortran and
libgomp in numpy, scipy and scikit-learn (GPL-3.0 with the GCC Runtime Library Exception, which leaves programs that use
them free) and libpq and OpenSSL in psycopg-binary. A CUDA build of torch brings NVIDIA's libraries under NVIDIA's own
terms; the lock does not choose it.

## Packages

| package | version | licence | home page |
|---|---|---|---|
"""
MODELS_HEADER = """
## Model files

| file | comes with | licence | note |
|---|---|---|---|
"""
UNLOCKED_HEADER = """
## Declared but not locked

| package | licence | home page | note |
|---|---|---|---|
"""
NOTES_HEADER = """
## Licences that a person read

The metadata of these packages is silent, vague or offers a choice (tools/licences.toml).

| package | licence | what was read |
|---|---|---|
"""


def render() -> str:
    """Return the text of THIRD_PARTY.md for requirements.lock."""
    table = read_table()
    lock = read_lock()
    licences = {name: licence_of(name, table) for name in sorted(lock)}
    return "".join(
        [
            HEADER,
            *(_row(name, lock[name], _licence_cell(licences[name]), home_page(name)) for name in sorted(lock)),
            MODELS_HEADER,
            *(_model_row(entry) for entry in table["model-file"]),
            UNLOCKED_HEADER,
            *(_row(n, entry["licence"], entry["home"], entry["why"]) for n, entry in sorted(table["unlocked"].items())),
            NOTES_HEADER,
            *(_row(name, found.expression, found.note) for name, found in licences.items() if found.note),
        ]
    )


def home_page(name: str) -> str:
    """Return a package's home page from its metadata; its page on PyPI where it names none."""
    fields = metadata.metadata(name)
    pages = {}
    for text in fields.get_all("Project-URL") or []:
        label, _, url = text.partition(",")
        pages[label.strip().lower()] = url.strip()
    candidates = [field_of(fields, "Home-page"), *(pages.get(label) for label in HOME_LABELS)]
    found = next((url for url in candidates if url and url != "UNKNOWN"), None)
    return str(found or f"https://pypi.org/project/{name}/")


def _licence_cell(licence: Licence) -> str:
    if licence.taken == licence.expression:
        return licence.expression
    return f"{licence.expression}; taken: {licence.taken}"


def _model_row(entry: dict[str, Any]) -> str:
    return _row(f"`{entry['file']}`", entry["package"] or "this repository", entry["licence"], entry["note"])


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def main() -> int:
    """Write THIRD_PARTY.md, or with --check say whether it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the file is stale")
    options = parser.parse_args()
    path: Path = THIRD_PARTY
    if not options.check:
        path.write_text(render(), encoding="utf-8")
    elif path.read_text(encoding="utf-8") != render():
        print(f"{path.name} is stale: run `make lock`. Nothing was written.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
