"""Content features of items, computed once for each picture and text by each net, whatever night or catalogue asks.

`data/features/<net>/` holds parts, each a Parquet file with the digests of what was looked at and a row for each. A
night computes what is new and writes it as one part more.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, digest_of
from personalgen.embeddings import TEXT_DIM, EmbeddingOptions, TextEncoder, image_features, text_features
from personalgen.embeddings.content import CONTENT_ENCODER, FEATURE_DIM
from personalgen.embeddings.matrix_columns import from_lists, to_lists
from personalgen.embeddings.options import SENTENCES
from personalgen.embeddings.text import TEXT_ENCODER

Matrix = NDArray[np.float32]
Report = Callable[[str], Callable[..., None]]
_MOST_PARTS = 30


def content_features(
    folder: Path,
    images: NDArray[np.uint8],
    images_sha256: Sequence[str],
    texts: Sequence[str],
    options: EmbeddingOptions,
    report: Report,
) -> Matrix:
    """Return (n_items, 1280 + text columns) features of pictures beside those of texts.

    `images_sha256` are the digests of the pictures in the source; `report` gives a progress callback by a name.

    Raises:
        ConfigError: a package is missing that the options ask for.
    """
    name = digest_of([CONTENT_ENCODER, options.feature_px, images.shape[1:]])[:16]

    def look(rows: NDArray[np.int64]) -> Matrix:
        progress = report("item features")
        return image_features(images[rows], feature_px=options.feature_px, progress=progress)

    pictures = cached_rows(folder / f"pictures-{name}", images_sha256, FEATURE_DIM, look)
    if options.text == SENTENCES:
        return np.concatenate([pictures, sentence_features(folder, texts, report)], axis=1)
    return np.concatenate([pictures, text_features(texts, options.text_dim)], axis=1)


def sentence_features(folder: Path, texts: Sequence[str], report: Report) -> Matrix:
    """Return (n, 384) vectors of texts by the sentence encoder, rows of unit length; one without words is zero.

    Raises:
        ConfigError: the extra `text` is missing.
    """

    def look(rows: NDArray[np.int64]) -> Matrix:
        return TextEncoder().encode([texts[row] for row in rows.tolist()], progress=report("item texts"))

    keys = [sha256(text.encode()).hexdigest() for text in texts]
    return cached_rows(folder / f"texts-{digest_of(TEXT_ENCODER)[:16]}", keys, TEXT_DIM, look)


def cached_rows(folder: Path, keys: Sequence[str], width: int, look: Callable[[NDArray[np.int64]], Matrix]) -> Matrix:
    """Return (len(keys), width) rows, those of new keys by `look`, which is given the first place of each of them.

    A row that is not finite, of what could not be looked at, is not kept: it is asked for again the next time.
    """
    found = np.empty((len(keys), width), dtype=np.float32)
    place_of: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        place_of.setdefault(key, []).append(place)
    parts = sorted(folder.glob("*.parquet"))
    for path in parts:
        known, rows = _read(path)
        for row, key in enumerate(known):
            for place in place_of.pop(key, ()):
                found[place] = rows[row]
    new = list(place_of)
    if new:
        rows = look(np.array([place_of[key][0] for key in new], dtype=np.int64))
        for key, row in zip(new, rows, strict=True):
            found[place_of[key]] = row
        whole = np.flatnonzero(np.isfinite(rows).all(axis=1))
        if len(whole):
            _write(folder, [new[k] for k in whole.tolist()], rows[whole])
    if len(parts) > _MOST_PARTS:
        _compact(folder)
    return found


def _compact(folder: Path) -> None:
    """Make one part of all."""
    parts = sorted(folder.glob("*.parquet"))
    read = [_read(path) for path in parts]
    merged = _write(folder, [key for keys, _ in read for key in keys], np.concatenate([rows for _, rows in read]))
    for path in parts:
        if path != merged:
            path.unlink()


def _read(path: Path) -> tuple[list[str], Matrix]:
    """Return the keys and the rows of a part."""
    table = pq.read_table(path)
    return table["key"].to_pylist(), from_lists(table["row"], np.float32)


def _write(folder: Path, keys: Sequence[str], rows: Matrix) -> Path:
    """Write a part, named by its keys; return its path."""
    path = folder / f"{digest_of(list(keys))}.parquet"
    with atomic_path(path) as temporary:
        pq.write_table(
            pa.table({"key": pa.array(keys, type=pa.string()), "row": to_lists(rows, pa.float32())}), temporary
        )
    return path
