"""What a source is, how its columns are called, and which rows are refused: the options of `prepare_tables`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from personalgen.bounds import check_options


@dataclass(frozen=True)
class InteractionColumns:
    """The source's name of each interaction column; an empty name means: do not read it."""

    user_id: str = "user_id"
    """Column that says who acted."""
    item_id: str = "item_id"
    """Column that says on which item."""
    timestamp: str = "timestamp"
    """Column of UTC seconds, datetimes (without a zone: UTC) or ISO-8601 text."""
    rating: str | None = "rating"
    """Column of ratings; one below the user's own mean counts as a dislike. Read where there is no weight."""
    weight: str | None = "weight"
    """Column of signed weights, negative for a dislike; wins over the rating."""
    event: str | None = "event"
    """Column that names the kind of event."""


@dataclass(frozen=True)
class ItemColumns:
    """The source's name of each item column; an empty name means: do not read it."""

    item_id: str = "item_id"
    """Column that identifies the item."""
    image: str = "image"
    """Column of image paths, relative to the image root."""
    title: str | None = "title"
    """Column of titles."""
    text: tuple[str, ...] = ("text", "tags")
    """Columns of text, joined with a space in this order."""
    labels: tuple[str, ...] = ()
    """Columns kept as labels, each under its own name."""


@dataclass(frozen=True)
class UserColumns:
    """The source's name of each user column; an empty name means: do not read it."""

    user_id: str = "user_id"
    """Column that identifies the user."""
    segment: str | None = "segment"
    """Column of the segment that reports group by."""
    created_at: str | None = "created_at"
    """Column that says since when the user exists; any form that a timestamp may have."""
    opted_out: str | None = "opted_out"
    """Column that is true for users whose events are not read and who get no images."""


@dataclass(frozen=True)
class ColumnMapping:
    """How the source calls the columns. A default name that is absent is fine where the column is optional."""

    interactions: InteractionColumns = field(default_factory=InteractionColumns)
    """Columns of the interactions table."""
    items: ItemColumns = field(default_factory=ItemColumns)
    """Columns of the items table."""
    users: UserColumns = field(default_factory=UserColumns)
    """Columns of the users table."""


@dataclass(frozen=True)
class SourceOptions:
    """Where the history tables are: a folder, or a database."""

    name: str = "source"
    """Name of the source, as nights and reports show it."""
    path: str | None = None
    """Folder that holds the tables as Parquet or CSV. Exactly one of path and url is given."""
    url: str | None = None
    """SQLAlchemy URL that names its driver, such as postgresql+psycopg://host/db."""
    interactions: str = "interactions"
    """File name in the folder (its extension may be left out), table name, or SELECT of the interactions."""
    items: str = "items"
    """File name, table name or SELECT of the items."""
    users: str | None = None
    """File name, table name or SELECT of the users who get images; without it, the users of the interactions."""
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    """How the source calls the columns."""
    image_root: str | None = None
    """Folder that image paths are relative to; by default the source's folder. Needed with a url."""

    def faults(self) -> list[str]:
        """Return what is wrong with these options, one sentence each; empty where they can be used."""
        found = []
        if bool(self.path) == bool(self.url):
            found.append(f"source needs exactly one of path and url, found {'both' if self.path else 'neither'}")
        if self.url and not self.image_root:
            found.append("source.image_root is needed with source.url: the folder that image paths are relative to")
        return found + [f"source.{name} is empty" for name in ("interactions", "items") if not getattr(self, name)]


@dataclass(frozen=True)
class PrivacyOptions:
    """What of a person's identity is kept."""

    hash_ids: bool = False
    """Whether users are known by a keyed digest of their id from the reader on. The salt is never a setting: it is read
    from PERSONALGEN_PRIVACY_SALT or from key_file, and a home keeps to its own for ever."""
    key_file: str = ""
    """File that holds the salt, readable by its owner alone; relative to home."""


@dataclass(frozen=True)
class LimitsOptions:
    """Which rows and images are refused, and how many refusals stop the run."""

    max_quarantine_share: float = 0.05
    """Share of a table's rows that may be quarantined before the run stops with nothing changed."""
    max_image_bytes: int = 20_000_000
    """Largest image file that is read."""
    max_image_pixels: int = 40_000_000
    """Largest width x height that is decoded."""
    chunk_rows: int = 100_000
    """Rows held in memory at a time; does not change the result."""
    max_id_bytes: int = 255
    """Longest user_id or item_id, in UTF-8."""
    future_tolerance_sec: int = 86_400
    """How far past the wall clock an event may lie before it is a fault."""

    def __post_init__(self) -> None:
        """Refuse limits that no row can keep to, all in one message."""
        least = {"max_image_bytes": 1, "max_image_pixels": 1, "chunk_rows": 1, "max_id_bytes": 1}
        check_options("limits", self, least=least | {"future_tolerance_sec": 0}, shares=("max_quarantine_share",))

    def deciding(self) -> dict[str, Any]:
        """Return the options that can change which rows are kept."""
        return {name: value for name, value in asdict(self).items() if name != "chunk_rows"}
