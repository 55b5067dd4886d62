"""The catalogue: every night, model version, user, item, shard and asset, and which of them users see.

    schema, views      tables with their final keys, and the views analysts read
    rollup_schema      tables that hold answers; `schema` re-exports them, `metadata` is what all are declared on
    migrations         alembic revisions; `upgrade(engine)` at every start
    engine             `open_catalogue`, one write transaction, ANALYZE
    facts, rows        what the verbs take, what the reads return
    write, shards, release
                       the verbs: one transaction each, and doing one twice is doing it once
    rollups            keeps sums and changes in the transaction of what they count
    comparisons, ratings, summaries
                       blind choices between models, opinions of assets, what was read of histories
    bulk, ranked       how they write many rows
    read, planning     typed rows for people, arrays for the planner
    questions, scopes, daily, similar, places
                       the standing questions, what they may be limited to, sums, neighbours, where bytes lie
    query              SQL by people who should not be able to break anything

This module imports nothing, so that the process that runs their SQL starts in milliseconds.
"""
