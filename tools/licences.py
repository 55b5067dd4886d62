"""Which licence each locked package has, and whether it may come with the project.

The package's own metadata speaks first unless tools/licences.toml holds a reviewed answer for it.
"""

import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("licences.toml")

# What packages write in `License:` and in classifiers -> the SPDX identifier. Vague names (BSD) are reviewed instead.
SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit": "MIT",
    "mit licence": "MIT",
    "mit license": "MIT",
    "mit or apache-2.0": "MIT OR Apache-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "psf-2.0": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
_TOKEN = re.compile(r"\(|\)|[^\s()]+")


@dataclass(frozen=True)
class Licence:
    """What is known of one package's licence."""

    expression: str
    """SPDX expression, or the raw words where no SPDX identifier is known."""

    taken: str
    """The branch that this project takes of a choice; else the same as `expression`."""

    note: str
    """What a person read to know it; empty where the metadata says it."""


def read_table() -> dict[str, Any]:
    """Return tools/licences.toml as a mapping."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def licence_of(name: str, table: dict[str, Any]) -> Licence:
    """Return the licence of an installed package."""
    if reviewed := table["reviewed"].get(name):
        taken = reviewed.get("taken", reviewed["licence"])
        return Licence(reviewed["licence"], taken, reviewed["why"])
    expression = expression_in(metadata.metadata(name))
    return Licence(expression, expression, "")


def expression_in(fields: metadata.PackageMetadata) -> str:
    """Return the SPDX expression that a package's metadata amounts to, `UNKNOWN` where it names none."""
    if expression := field_of(fields, "License-Expression"):
        return expression
    lines = field_of(fields, "License").strip().splitlines()
    if lines and (known := SPDX.get(lines[0].strip().lower())):
        return known
    names = [text.rsplit(" :: ", 1)[-1] for text in fields.get_all("Classifier") or [] if text.startswith("License ::")]
    known_names = [SPDX.get(name.lower(), name) for name in names]
    return " AND ".join(known_names) or "UNKNOWN"


def field_of(fields: metadata.PackageMetadata, key: str) -> str:
    """Return one metadata field, empty where the package does not have it."""
    return fields[key] if key in fields else ""  # noqa: SIM401 - PackageMetadata has no `get` in its protocol


def fault_of(name: str, expression: str, table: dict[str, Any]) -> str | None:
    """Return why a package with this licence may not come along, or None where it may."""
    allowed = set(table["allowed"])
    allowed |= {licence for licence, names in table["allowed-for"].items() if name in names}
    if table["reviewed"].get(name, {}).get("taken") == expression:
        return None
    if satisfied(expression, allowed):
        return None
    return f"{name} is under {expression!r}, which is not allowed. Review its LICENSE in {TABLE.name} or drop it."


def satisfied(expression: str, allowed: set[str]) -> bool:
    """Return whether an SPDX expression can be met with `allowed` licences alone: every AND, any OR."""
    tokens = _TOKEN.findall(expression)
    verdict, rest = _any_of(tokens, allowed)
    return verdict and not rest


def _any_of(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    verdict, rest = _all_of(tokens, allowed)
    while rest[:1] == ["OR"]:
        other, rest = _all_of(rest[1:], allowed)
        verdict = verdict or other
    return verdict, rest


def _all_of(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    verdict, rest = _one(tokens, allowed)
    while rest[:1] == ["AND"]:
        other, rest = _one(rest[1:], allowed)
        verdict = verdict and other
    return verdict, rest


def _one(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    if tokens[:1] == ["("]:
        verdict, rest = _any_of(tokens[1:], allowed)
        return verdict and rest[:1] == [")"], rest[1:]
    if tokens[1:2] == ["WITH"]:
        return " ".join(tokens[:3]) in allowed, tokens[3:]
    return tokens[:1] != [] and tokens[0] in allowed, tokens[1:]
