"""The items table and its pictures: items.parquet and images.npy, one row each per item whose picture decoded."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from personalgen.tables.columns import Batch, shown, to_text, value_at
from personalgen.tables.digest import RowSum, record_words
from personalgen.tables.ids import canonical_ids
from personalgen.tables.images import ImageFault, read_picture
from personalgen.tables.prepared import IMAGES, ITEMS
from personalgen.tables.quarantine import Fault
from personalgen.tables.reading import Reading
from personalgen.tables.source import TableLayout

SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("labels", pa.string()),
        ("image_index", pa.int32()),
        ("image_sha256", pa.string()),
    ]
)
_BATCH_ITEMS = 256
_COPY_IMAGES = 1024


@dataclass(frozen=True)
class Item:
    """One row of items.parquet, its index aside."""

    item_id: str
    title: str | None
    text: str | None
    labels: str
    image_sha256: str


@dataclass
class Items:
    """The items read so far, in source order."""

    kept: list[Item] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Ids of all rows that have one, also of those whose picture failed."""
    n_rows: int = 0

    def index_of(self) -> dict[str, int]:
        """Return the position of each kept item in the order of ids, which is that of images.npy."""
        return {item_id: index for index, item_id in enumerate(sorted(item.item_id for item in self.kept))}

    def order(self) -> NDArray[np.int64]:
        """Return the positions in `kept` in the order of ids."""
        return np.array(sorted(range(len(self.kept)), key=lambda place: self.kept[place].item_id), dtype=np.int64)


def read_items(reading: Reading, layout: TableLayout, folder: Path, *, image_px: int) -> tuple[Items, RowSum]:
    """Write items.parquet and images.npy into `folder`, ordered by item id; return the items and their hashes' sum."""
    items = Items()
    unsorted = folder / "images.raw"
    with unsorted.open("wb") as pixels:
        for batch in reading.batches("items", layout, chunk_rows=_BATCH_ITEMS):
            items.n_rows += batch.n_rows
            reading.quarantine.add("items", _take(items, batch, layout, reading, image_px, pixels))
    order = items.order()
    if len(order):
        _write_images(unsorted, folder / IMAGES, order, image_px)
    unsorted.unlink()
    return items, _write_items(folder / ITEMS, [items.kept[place] for place in order])


def _take(
    items: Items, batch: Batch, layout: TableLayout, reading: Reading, image_px: int, pixels: BufferedWriter
) -> Iterator[Fault]:
    """Add a batch's items and append their pixels, yielding the faults of the rows that are refused."""
    raw = batch.columns[layout.need("item_id")]
    ids = canonical_ids(raw, max_bytes=reading.limits.max_id_bytes, typed=batch.typed)
    texts = {name: to_text(batch.columns[name]) for name in layout.names()}
    image, root = texts[layout.need("image")], reading.source.image_root
    for place, row in enumerate(batch.rows.tolist()):
        item_id = ids.at(place)
        if item_id is None:
            yield Fault(row, "bad_item_id", f"item_id = {shown(value_at(raw, place))}")
        elif item_id in items.seen:
            yield Fault(row, "duplicate_item", f"{item_id!r} came before; the first row is kept", item_id=item_id)
        else:
            items.seen.add(item_id)
            picture = read_picture(root, image[place], image_px=image_px, limits=reading.limits)
            if isinstance(picture, ImageFault):
                yield Fault(row, picture.reason, picture.detail, item_id=item_id)
                continue
            pixels.write(picture.pixels.tobytes())
            items.kept.append(_item(item_id, layout, {name: one[place] for name, one in texts.items()}, picture.sha256))


def _item(item_id: str, layout: TableLayout, row: dict[str, str | None], image_sha256: str) -> Item:
    """Return the item of a row of texts."""
    title = layout.one("title")
    text = " ".join(value for name in layout.chosen["text"] if (value := row[name]))
    labels = json.dumps({name: row[name] for name in layout.chosen["labels"]}, ensure_ascii=False, sort_keys=True)
    return Item(item_id, row[title] if title else None, text or None, labels, image_sha256)


def _write_images(unsorted: Path, path: Path, order: NDArray[np.int64], image_px: int) -> None:
    """Write images.npy in the given order, a part at a time."""
    shape = (len(order), image_px, image_px, 3)
    read = np.memmap(unsorted, dtype=np.uint8, mode="r", shape=shape)
    with path.open("wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        for start in range(0, len(order), _COPY_IMAGES):
            out.write(read[order[start : start + _COPY_IMAGES]].tobytes())


def _write_items(path: Path, items: list[Item]) -> RowSum:
    """Write items.parquet in the given order, and return the sum of its rows' hashes."""
    names = [name for name in SCHEMA.names if name != "image_index"]
    columns = {name: pa.array([getattr(item, name) for item in items], pa.string()) for name in names}
    columns["image_index"] = pa.array(range(len(items)), pa.int32())
    pa.parquet.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")
    total = RowSum()
    total.add(record_words((i.item_id, i.title, i.text, i.labels, i.image_sha256) for i in items))
    return total
