"""A small folder source that each test spoils in its own way."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image

from personalgen.tables import LimitsOptions, Prepared, PreparedTables, SourceOptions, load_prepared, prepare_tables

NOW = datetime(2026, 1, 1, tzinfo=UTC)
T0 = 1_700_000_000
LENIENT = LimitsOptions(max_quarantine_share=1.0)


def png_bytes(colour: tuple[int, int, int], px: int = 8) -> bytes:
    """Return a PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (px, px), colour).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Shop:
    """A source folder, and where its prepared folders go."""

    folder: Path
    out_root: Path
    interactions: dict[str, Any] = field(
        default_factory=lambda: {
            "user_id": ["u1", "u1", "u2", "u2"],
            "item_id": ["a", "b", "b", "c"],
            "timestamp": [T0, T0 + 10, T0 + 20, T0 + 30],
        }
    )
    items: dict[str, Any] = field(
        default_factory=lambda: {
            "item_id": ["a", "b", "c"],
            "image": ["images/a.png", "images/b.png", "images/c.png"],
            "title": ["Apple", "Bear", "Cat"],
        }
    )
    users: dict[str, Any] | None = None
    kind: str = "parquet"

    def write(self) -> SourceOptions:
        """Write the tables and return the options that read them."""
        (self.folder / "images").mkdir(parents=True, exist_ok=True)
        for name, colour in (("a", (255, 0, 0)), ("b", (0, 255, 0)), ("c", (0, 0, 255))):
            path = self.folder / "images" / f"{name}.png"
            if not path.exists():
                path.write_bytes(png_bytes(colour))
        tables = {"interactions": self.interactions, "items": self.items, "users": self.users}
        for name, columns in tables.items():
            if columns is not None:
                self._write(name, pa.table(columns))
        return SourceOptions(path=str(self.folder), users="users" if self.users else None)

    def prepare(self, source: SourceOptions | None = None, **options: Any) -> PreparedTables:
        """Prepare the source with lenient limits unless told otherwise."""
        defaults = {"limits": LENIENT, "image_px": 8, "out_root": self.out_root, "as_of": None, "now": NOW}
        return prepare_tables(source or self.write(), **(defaults | options))

    def load(self, **options: Any) -> Prepared:
        """Prepare and load."""
        return load_prepared(self.prepare(**options).folder, verify=True)

    def reasons(self, **options: Any) -> dict[tuple[str, str], int]:
        """Prepare, and return the quarantined rows by table and reason."""
        return {(one.table, one.reason): one.n_rows for one in self.prepare(**options).quarantine}

    def leftovers(self) -> list[str]:
        """Return what lies under the output root."""
        return [path.name for path in self.out_root.iterdir()] if self.out_root.exists() else []

    def _write(self, name: str, table: pa.Table) -> None:
        path = self.folder / f"{name}.{self.kind}"
        (pa.parquet.write_table if self.kind == "parquet" else pa.csv.write_csv)(table, path)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A source of two users, three items and four events."""
    return Shop(tmp_path / "shop", tmp_path / "prepared")


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """The bytes of a PNG of one colour."""
    return png_bytes
