"""Takes people's opinions of assets, one by one or from a product's file, and stores them."""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from personalgen.bounds import MAX_ID
from personalgen.catalogue.facts import RatingFacts, RatingSource
from personalgen.catalogue.ratings import can_be_rated, record_ratings
from personalgen.errors import DataError
from personalgen.steps.heard import name_heard, names_heard
from personalgen.steps.workspace import Workspace

COLUMNS = ("asset_id", "rating", "rater", "at")
_SHOWN = 5
_RATER_CHARS = 128


@dataclass(frozen=True)
class RatingsRead:
    """What became of the opinions of a file."""

    n_read: int
    n_new: int
    """Stored, and new or changed."""
    n_of_forgotten: int = 0
    """Left out: the rater was forgotten."""
    n_of_no_picture: int = 0
    """Left out: the picture is not in the catalogue, be it that its person was forgotten or its night deleted."""


def rate_asset(workspace: Workspace, asset_id: int, rating: float, *, rater: str) -> int:
    """Store what somebody says of an asset now, -1 to 1; return 1 where that is new.

    Raises:
        DataError: the rating is outside -1 to 1, or the rater has no name or a long one, or was forgotten. Nothing was
            stored.
        NotFoundError: there is no such asset.
        ConfigError: ids are hashed, the rater's is plain, and the salt is missing. Nothing was stored.
    """
    cells = {"asset_id": str(asset_id), "rating": str(rating), "rater": rater, "at": ""}
    told = _opinion(cells, workspace.now(), "terminal")
    return record_ratings(workspace.engine, [replace(told, rater=name_heard(workspace, told.rater))])


def rate_from_file(workspace: Workspace, path: Path) -> RatingsRead:
    """Store the opinions of a CSV file (asset_id, rating, rater, at); return what became of them.

    `at` is ISO 8601 (UTC where it names no zone); empty, it is now. Those by people who were forgotten, and of pictures
    that the catalogue does not hold, are left out; all others are stored, or none.

    Raises:
        DataError: the file cannot be read, or rows are no opinions: which, and why. Nothing was stored.
        ConfigError: ids are hashed, a rater's is plain, and the salt is missing. Nothing was stored.
    """
    now, facts, faults = workspace.now(), [], []
    for line, cells in _rows(path):
        try:
            facts.append(_opinion(cells, now, "product"))
        except (DataError, ValueError) as error:
            faults.append(f"line {line}: {error}")
    if faults:
        shown = "; ".join(faults[:_SHOWN]) + (f"; and {len(faults) - _SHOWN} more" if faults[_SHOWN:] else "")
        raise DataError(f"{path}: {shown}. Mend these rows. Nothing was stored.")
    ids = names_heard(workspace, (told.rater for told in facts))
    heard = [replace(told, rater=ids[told.rater]) for told in facts if told.rater in ids]
    there = can_be_rated(workspace.engine, {told.asset_id for told in heard})
    kept = [told for told in heard if told.asset_id in there]
    n_new = record_ratings(workspace.engine, kept)
    return RatingsRead(len(facts), n_new, len(facts) - len(heard), len(heard) - len(kept))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line of the file and its cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise DataError(
                    f"{path} needs the columns {', '.join(COLUMNS)}; it lacks {', '.join(missing)}. Nothing was stored."
                )
            yield from ((reader.line_num, cells) for cells in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}. Nothing was stored.") from error


def _opinion(cells: Mapping[str, str | None], now: datetime, source: RatingSource) -> RatingFacts:
    """Return an opinion.

    Raises:
        DataError, ValueError: a cell is no number, instant or name.
    """
    value, rater = float(cells["rating"] or "nan"), (cells["rater"] or "").strip()
    if not (math.isfinite(value) and -1 <= value <= 1):
        raise DataError(f"a rating is from -1 (dislike) to 1 (like), found {cells['rating']!r}")
    if not 0 < len(rater) <= _RATER_CHARS or "\0" in rater:
        raise DataError(f"a rater has a name of 1 to {_RATER_CHARS} characters, none of them NUL, found {rater!r}")
    asset_id, at = int(cells["asset_id"] or ""), _instant(cells["at"]) if cells["at"] else now
    if not 0 < asset_id <= MAX_ID:
        raise DataError(f"an asset's id is from 1 to {MAX_ID}, found {asset_id}")
    return RatingFacts(asset_id=asset_id, value=value, rater=rater, source=source, at=at)


def _instant(text: str) -> datetime:
    """Return an instant in UTC; text without a zone is UTC.

    Raises:
        DataError, ValueError: the text is no instant, or one that lies outside the years 1 to 9999 in UTC.
    """
    at = datetime.fromisoformat(text)
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        raise DataError(f"an instant lies in the years 1 to 9999 of UTC, found {text!r}") from None
