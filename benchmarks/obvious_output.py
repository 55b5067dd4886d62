"""The program that one writes first: Pillow's PNG, a file and fsync for each, ORM rows, a commit for each batch."""

import os
import time
from pathlib import Path

import torch
from PIL import Image
from sqlalchemy.orm import Session, registry

from benchmarks.output_store import BATCH, POINT, Model, Store
from personalgen.artifacts import short_digest
from personalgen.catalogue.schema import asset
from personalgen.generation.plan import condition_bytes
from personalgen.seeding import derive_seed


class Asset:
    """A row, mapped by SQLAlchemy's ORM."""

    def __init__(self, **values: object) -> None:
        """Take the columns by name."""
        for name, value in values.items():
            setattr(self, name, value)


registry().map_imperatively(Asset, asset)


def obvious(store: Store, images: torch.Tensor, n_images: int) -> None:
    """Write pictures the obvious way."""
    model, folder = store.model(), store.root / f"obvious-{time.time_ns()}"
    folder.mkdir(parents=True)
    with Session(store.engine) as session:
        for start in range(0, n_images, BATCH):
            for place in range(start, min(start + BATCH, n_images)):
                session.add(_write(store, model, images[place % len(images)], place, folder))
            session.commit()


def _write(store: Store, model: Model, image: torch.Tensor, place: int, folder: Path) -> Asset:
    """Write one picture and return its row."""
    pixels = ((image * 127.5) + 128).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    path = folder / f"{place:012d}.png"
    with path.open("wb") as stream:
        Image.fromarray(pixels).save(stream, "PNG")
        stream.flush()
        os.fsync(stream.fileno())
    return Asset(
        user_key=int(store.keys[place]), generator_digest=model.generator_digest,
        condition_digest=short_digest(condition_bytes(store.table.vectors[place % len(store.table.vectors)])),
        operating_point_digest=POINT.digest(), variant=0, night_id=model.night_id,
        model_version_id=model.model_version_id, shard_id=0, member=path.name, shard_offset=0,
        byte_length=path.stat().st_size, crc32=0, seed=derive_seed(store.user_ids[place]), n_events=20,
        top_events=[dict(event) for event in store.top_events[place % len(store.table.vectors)]],
    )  # fmt: skip
