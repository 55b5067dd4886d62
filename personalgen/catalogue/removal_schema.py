"""Tables of what was removed, is being removed or was never made. `schema` re-exports them.

An intent is written before anything goes, so that a run that was cut is gone on with.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, SmallInteger, String, Table, Text

from personalgen.catalogue.column_types import BigKey, Json, UtcDateTime
from personalgen.catalogue.metadata import METADATA

refused = Table(
    "refused",
    METADATA,
    Column("generator_digest", BigInteger, primary_key=True, autoincrement=False),
    Column("user_key", BigInteger, primary_key=True, autoincrement=False),
    Column("operating_point_digest", BigInteger, primary_key=True, autoincrement=False),
    Column("condition_digest", BigInteger, primary_key=True, autoincrement=False),
    Column("variant", SmallInteger, primary_key=True, autoincrement=False),
    Column("score", Float, nullable=False),
    Column("rule", String(255), nullable=False),
    Column("night_id", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)
"""An image that a safety filter refused, by the natural key that it would have as an asset. rule: as `shard.safety`.

Like `asset` it has no foreign keys. Under the same rule the image is not drawn again; under another one it is."""

forgotten = Table(
    "forgotten",
    METADATA,
    Column("forgotten_id", BigKey, primary_key=True),
    Column("user_key", BigInteger, ForeignKey("user.user_key"), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("statistics_exact", Boolean, nullable=False),
    Column("removed", Json, nullable=False),
    Column("coefficients_night_id", BigInteger, ForeignKey("night.night_id")),
    Column("coefficients_at", UtcDateTime),
    Column("erased_at", UtcDateTime),
    Column("receipt", Json),
    sqlite_autoincrement=True,
)
"""Every request to forget a person: one line each, never changed but for the coefficients, which are filled once.

statistics_exact: the person's part of the recommender's sums was subtracted to the bit; False: they were built anew, or
there were none. removed: how many of each kind of thing were deleted. coefficients_night_id, coefficients_at: the first
night that solved the recommender without this person; null until then. erased_at, receipt: when the last of it was
done, and what was removed where and what remains; null in lines from before there were receipts."""

erasure = Table(
    "erasure",
    METADATA,
    Column("user_key", BigInteger, ForeignKey("user.user_key"), primary_key=True, autoincrement=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("removed", Json, nullable=False),
    Column("shards", Json, nullable=False),
)
"""Who is being erased: the intent, written before anything is removed. The line of `forgotten` takes its place.

removed, shards: how many of each kind of thing are gone so far, and the shards in which images were; a run that was cut
off is gone on from here."""

removal = Table(
    "removal",
    METADATA,
    Column("path", Text, primary_key=True),
    Column("asked_at", UtcDateTime, nullable=False),
)
"""Files of the shard root that no row names any more: to be removed. The row goes when the file has gone."""

night_deletion = Table(
    "night_deletion",
    METADATA,
    Column("night_deletion_id", BigKey, primary_key=True),
    Column("night_id", BigInteger, ForeignKey("night.night_id"), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("removed", Json, nullable=False),
    Column("finished_at", UtcDateTime),
    sqlite_autoincrement=True,
)
"""Every night that was deleted: its rows went with this line, its files before `finished_at`."""
