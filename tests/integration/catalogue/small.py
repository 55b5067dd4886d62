"""A small catalogue by its verbs: what the tests of this folder build on."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
from sqlalchemy import func, select

from personalgen.artifacts import weights_key
from personalgen.catalogue import ranked, release, schema, write
from personalgen.catalogue.facts import (
    ComparisonFacts,
    ForgottenFacts,
    ModelFacts,
    NightFacts,
    Ranked,
    ShardFacts,
)
from personalgen.generation.assets import AssetRow, AssetRows

AT = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
POINT, POINT_DIGEST = {"guidance": 1.5}, 77


def begin(engine, key="night-a", **changes):
    """Begin a night."""
    facts = NightFacts(
        night_key=key,
        source="demo",
        as_of=AT,
        day=date(2026, 3, 1),
        source_digest="s",
        config_digest="c",
        mlflow_run_id="run",
    )
    return write.begin_night(engine, replace(facts, **changes), at=AT)


def model_facts(night_id, version=1):
    """Return the facts of a model whose weights differ by version."""
    return ModelFacts(
        model_name="gan", version=version, generator_sha256=f"{version}" * 64, basis_version="basis-1",
        condition_spec={"fields": []}, folder=f"models/{version}", night_id=night_id, mlflow_run_id="trained",
    )  # fmt: skip


def register(engine, night_id, version=1):
    """Register a model."""
    return write.register_model(engine, model_facts(night_id, version), at=AT)


def digest_of(version):
    """Return the generator digest of `model_facts(…, version)`."""
    return weights_key(f"{version}" * 64)


def shard_facts(night_id, model_version_id, name="000000", **changes):
    """Return the facts of a shard."""
    facts = ShardFacts(
        path=f"shards/night={night_id:06d}/{name}.tar", sha256=name * 10, byte_length=10_240, encoder="png/zlib",
        operating_point_digest=POINT_DIGEST, operating_point=POINT, night_id=night_id,
        model_version_id=model_version_id, sealed_at=AT, mlflow_run_id="generated",
    )  # fmt: skip
    return replace(facts, **changes)


def vector(taste):
    """Return a condition as its bytes."""
    return np.array([taste, 1.0], dtype="<f4").tobytes()


def rows_of(user_keys, *, version=1, taste=1, variants=1):
    """Return rows for the users, all of one taste."""
    rows = [
        AssetRow(
            user_key=int(key), generator_digest=digest_of(version), condition_digest=taste,
            operating_point_digest=POINT_DIGEST, variant=variant, member=f"{key:06d}-{variant:02d}.png",
            shard_offset=512, byte_length=99, crc32=2**32 - 1, seed=2**63 - 1,
            score=None if variant else 0.5, n_events=3,
            top_events=({"item_id": "höhe", "weight": 1.5, "timestamp": 17},), condition=vector(taste),
        )
        for key in user_keys
        for variant in range(variants)
    ]  # fmt: skip
    return packed_rows(rows)


def packed_rows(rows):
    """Return rows as a shard holds them."""
    return AssetRows.of(rows, encoder="png/zlib")


def counts(engine):
    """Return the number of rows of each table."""
    with engine.connect() as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(t)) for name, t in schema.METADATA.tables.items()
        }


def promote(engine, model, night_id, **changes):
    """Release a model the way a night does."""
    options = {
        "operating_point": POINT,
        "operating_point_digest": POINT_DIGEST,
        "reason": "better",
        "actor": "gate",
        "at": AT,
    }
    return release.release(engine, model, night_id=night_id, **{**options, **changes})


ITEMS = ("cup", "hat", "map")
NONE = float("nan")


def ranking(owners, found, rows):
    """Return what was found as {owner: [(id, score), ...]}, all rows equally long."""
    index = [[found.index(name) for name, _ in row] for row in rows]
    scores = [[score for _, score in row] for row in rows]
    return Ranked(
        owner_ids=tuple(owners), found_ids=tuple(found), found_index=np.array(index, dtype=np.int32),
        scores=np.array(scores, dtype=np.float32),
    )  # fmt: skip


def recommend(engine, night_id):
    """Recommend two items to bob, none to ada, and one to eve, whose first is not to be shown."""
    rows = [[("hat", 0.75), ("cup", 0.5)], [("cup", NONE), ("cup", NONE)], [("cup", -np.inf), ("map", -0.25)]]
    return write.replace_recommendations(engine, night_id, ranking(["bob", "ada", "eve"], ITEMS, rows))


def make_alike(engine, night_id):
    """Make everybody everybody's neighbour."""
    names = ["ada", "bob", "eve"]
    rows = [[(name, 1 - place / 4) for place, name in enumerate(n for n in names if n != own)] for own in names]
    return write.replace_user_neighbours(engine, night_id, ranking(names, names, rows))


def forget(engine, user_id, **changes):
    """Forget a user."""
    facts = ForgottenFacts(
        user_id=user_id, actor="ops", reason="asked", statistics_exact=True, removed={"preference tables": 3}
    )
    return write.record_forgotten(engine, replace(facts, **changes), at=AT)


def ranked_rows(engine):
    """Return all rows of the three tables."""
    with engine.connect() as connection:
        return {
            kind.rows.name: [tuple(row) for row in connection.execute(select(kind.rows))]
            for kind in (ranked.RECOMMENDATIONS, ranked.ITEM_NEIGHBOURS, ranked.USER_NEIGHBOURS)
        }


def vote(user_id="ada", **changes):
    """Return a choice of the left picture."""
    facts = ComparisonFacts(
        user_id=user_id, left_generator_digest=1, right_generator_digest=2**62 + 1, operating_point_digest=POINT_DIGEST,
        winner="left", voter="vera", source="terminal",
    )  # fmt: skip
    return replace(facts, **changes)
