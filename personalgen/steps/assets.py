"""Hands out assets: one image with its lineage, rows as a table, or all of them as files with a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personalgen.artifacts import atomic_path
from personalgen.catalogue import ratings, read
from personalgen.catalogue.placed import PlacedAsset, placed_assets
from personalgen.errors import ConfigError
from personalgen.generation.shards import read_member
from personalgen.steps.workspace import Workspace

TABLE = "assets.parquet"
_SCHEMA = pa.schema(
    [
        ("asset_id", pa.int64()),
        ("user_id", pa.string()),
        ("path", pa.string()),
        ("model_version", pa.int32()),
        ("seed", pa.int64()),
        ("score", pa.float64()),
        ("variant", pa.int16()),
    ]
)


def export_assets(workspace: Workspace, out: Path, *, live_only: bool = True) -> int:
    """Write every image as a file below `out` and, last, `out`/assets.parquet; return how many there are.

    Images of an earlier export that are not in the new table are removed: their users may have opted out.

    Columns: asset_id, user_id, path (relative to `out`), model_version, seed, score, variant.

    Raises:
        ConfigError: `out` is a file.
        ArtifactError: an image is missing or damaged; no table is written then.
    """
    if out.is_file():
        raise ConfigError(f"{out} is a file; name a folder to export to. Nothing was written.")
    out.mkdir(parents=True, exist_ok=True)
    report = workspace.report("export")
    rows: list[dict[str, Any]] = []
    for placed in placed_assets(workspace.engine, live_only=live_only):
        rows.append({**asdict(placed), "path": _write_image(workspace, out, placed)})
        report(len(rows), 0)
    with atomic_path(out / TABLE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary)
    _remove_others(out, {row["path"] for row in rows})
    return len(rows)


def write_rows(path: Path, rows: Sequence[Any], row_type: type[Any]) -> None:
    """Write dataclass rows as a Parquet file, whole or not at all; nested values as JSON text, as in CSV.

    Raises:
        ConfigError: the file cannot be written.
    """
    names = [field.name for field in fields(row_type)]
    records = [{name: _flat(getattr(row, name)) for name in names} for row in rows]
    columns = {name: [record[name] for record in records] for name in names}
    try:
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns), temporary)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}. Name another file. Nothing was written.") from error


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _remove_others(out: Path, kept: set[str]) -> None:
    """Remove exported images that the table does not name; other files stay."""
    for path in (out / "images").glob("[0-9]*.*"):
        if path.stem.isdigit() and f"images/{path.name}" not in kept:
            path.unlink()


def image_bytes(workspace: Workspace, asset_id: int) -> tuple[bytes, str]:
    """Return the encoded image of an asset, checked, and the name of its member.

    Raises:
        NotFoundError: there is no such asset.
        ArtifactError: its bytes are missing or damaged.
    """
    found = read.asset(workspace.engine, asset_id)
    data = read_member(
        workspace.shard_root,
        found.shard_path,
        offset=found.shard_offset,
        byte_length=found.byte_length,
        crc32=found.crc32,
    )
    return data, found.member


def lineage(workspace: Workspace, asset_id: int) -> dict[str, Any]:
    """Return one asset and everything it came from, the titles of the events that weighed most included.

    Raises:
        NotFoundError: there is no such asset.
    """
    found = read.asset(workspace.engine, asset_id)
    facts = {**asdict(found.summary), **{k: v for k, v in asdict(found).items() if k != "summary"}}
    events = found.summary.top_events
    titles = read.item_titles(workspace.engine, [event["item_id"] for event in events if "item_id" in event])
    said = ratings.ratings(workspace.engine, asset_id=asset_id)
    facts["n_ratings"] = len(said)
    facts["mean_rating"] = sum(one.value for one in said) / len(said) if said else None
    facts["top_events"] = [_named(event, titles) for event in events]
    return facts


def _named(event: dict[str, Any], titles: Mapping[str, str | None]) -> dict[str, Any]:
    """Return an event with what it was about: the title of an item, or a rating of a picture."""
    if "item_id" in event:
        return {**event, "title": titles.get(event["item_id"])}
    return {**event, "title": f"rating of asset {event['asset_id']}"}


def _write_image(workspace: Workspace, out: Path, placed: PlacedAsset) -> str:
    """Write one image; return its path relative to `out`."""
    data = read_member(
        workspace.shard_root,
        placed.shard_path,
        offset=placed.shard_offset,
        byte_length=placed.byte_length,
        crc32=placed.crc32,
    )
    name = f"images/{placed.asset_id:09d}{Path(placed.member).suffix}"
    path = out / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return name
