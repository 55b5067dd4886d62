"""History tables: read, given canonical ids, validated, quarantined, sealed; and the splits that never change."""

from personalgen.tables.ids import canonical_id
from personalgen.tables.options import (
    ColumnMapping,
    InteractionColumns,
    ItemColumns,
    LimitsOptions,
    SourceOptions,
    UserColumns,
)
from personalgen.tables.prepare import prepare_tables
from personalgen.tables.prepared import Interactions, Prepared, PreparedTables, load_prepared
from personalgen.tables.quarantine import QuarantineCount
from personalgen.tables.split import JUDGE, TEST, TRAIN, item_splits, later_events, split_of, user_splits

__all__ = [
    "JUDGE",
    "TEST",
    "TRAIN",
    "ColumnMapping",
    "InteractionColumns",
    "Interactions",
    "ItemColumns",
    "LimitsOptions",
    "Prepared",
    "PreparedTables",
    "QuarantineCount",
    "SourceOptions",
    "UserColumns",
    "canonical_id",
    "item_splits",
    "later_events",
    "load_prepared",
    "prepare_tables",
    "split_of",
    "user_splits",
]
