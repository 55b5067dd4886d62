"""The catalogue: every night, model version, user, item, shard and asset, and which of them users see.

    schema, views      tables with their final keys, and the views analysts read
    migrations         alembic revisions; `upgrade(engine)` at every start
    engine             `open_catalogue`, one write transaction, ANALYZE
    facts, rows        what the verbs take, what the reads return
    write, shards, release
                       the verbs: one transaction each, and doing one twice is doing it once
    comparisons        blind choices of people between models, written and read
    bulk, ranked       how they write many rows
    read, planning     typed rows for people, arrays for the planner
    query              SQL by people who should not be able to break anything

This module imports nothing, so that the process that runs their SQL starts in milliseconds.
"""
