"""A next-item model on disk, of which nothing is unpickled.

A card, the items' ids, and a file for each array that was learnt. Files are mapped when they are read, so that who only
asks for scores reads nothing else, and several processes share them.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personalgen.artifacts import atomic_path, read_json, write_json
from personalgen.errors import ArtifactError
from personalgen.recommenders.by_size import NextItemModel
from personalgen.recommenders.low_rank import LowRankNextItem, LowRankOptions
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.statistics import NextItemOptions

CARD, ITEMS = "recommender.json", "items.parquet"
_FORMAT = 1


def save_recommender(folder: Path, model: NextItemModel) -> Path:
    """Write a model to an empty folder, its card last; return the folder."""
    arrays = model.to_arrays()
    for name, array in arrays.items():
        with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)
    with atomic_path(folder / ITEMS) as temporary:
        pq.write_table(pa.table({"item_id": pa.array(model.item_ids, type=pa.string())}), temporary)
    card = {"format": _FORMAT, "name": model.name, "options": asdict(model.options), "arrays": list(arrays)}
    write_json(folder / CARD, card)
    return folder


def load_recommender(folder: Path) -> NextItemModel:
    """Return the model in a folder. What is changed of it is changed in memory alone.

    Raises:
        ArtifactError: there is none, or another version wrote it.
    """
    card = read_json(folder / CARD)
    if card.get("format") != _FORMAT:
        raise ArtifactError(
            f"{folder / CARD} has format {card.get('format')}, this version reads {_FORMAT}. Nothing was changed."
        )
    item_ids = tuple(pq.read_table(folder / ITEMS)["item_id"].to_pylist())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in card["arrays"]}
    if card["name"] == LinearNextItem.name:
        return LinearNextItem.from_arrays(NextItemOptions(**card["options"]), item_ids, arrays)
    return LowRankNextItem.from_arrays(LowRankOptions(**card["options"]), item_ids, arrays)
