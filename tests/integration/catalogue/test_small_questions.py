"""The standing questions where nights are few and odd: who comes back, who moved on, who was erased."""

from sqlalchemy import select

from personalgen.catalogue import deletions, questions, schema, shards, write
from personalgen.catalogue.facts import Pointer
from personalgen.catalogue.scopes import AssetFilter
from tests.integration.catalogue.small import AT, begin, digest_of, register, rows_of, shard_facts, vector


def history(engine, moves, names=("ada",)):
    """Make assets of tastes 1, 2, 5 in a night each, then let all stand at the tastes of `moves`, a night each.

    Returns (nights of the moves, night of each taste).
    """
    first = begin(engine)
    model = register(engine, first)
    keys = write.allocate_user_keys(engine, list(names), night_id=first)
    made = {taste: first if taste == 1 else begin(engine, f"made-{taste}") for taste in (1, 2, 5)}
    for taste, night_id in made.items():
        shards.commit_shard(engine, shard_facts(night_id, model, f"{taste:06d}"), rows_of(keys, taste=taste))
    columns = schema.asset.c
    with engine.connect() as connection:
        rows = connection.execute(select(columns.user_key, columns.condition_digest, columns.asset_id)).all()
    ids = {(key, taste): asset_id for key, taste, asset_id in rows}
    nights = []
    for number, taste in enumerate(moves):
        nights.append(begin(engine, f"move-{number}"))
        pointers = [Pointer(int(key), ids[int(key), taste], vector(taste), ()) for key in keys]
        shards.point_current(engine, generator_digest=digest_of(1), night_id=nights[-1], pointers=pointers)
    return nights, made


def pages_of_changes(engine, asked):
    """Return who changed, asked for row by row."""
    found, last = [], None
    while rows := questions.changed(engine, asked, limit=1, after=last):
        found += rows
        last = (rows[0].night_id, rows[0].new_asset_id)
        assert len(found) < 50
    return tuple(found)


def test_pages_of_changes_hold_equal_shifts_and_assets_that_come_again(engine):
    """To and fro is one shift in many nights, and one new asset in several: each is in one page."""
    history(engine, [1, 2, 1, 5, 2, 1])
    asked = AssetFilter(user_id="ada")
    everything = questions.changed(engine, asked)
    assert len({row.shift for row in everything}) < len({row.night_id for row in everything}) == len(everything) == 8
    assert pages_of_changes(engine, asked) == everything


def test_a_page_of_changes_goes_on_after_an_asset_that_was_deleted(engine):
    """The night that made what people changed to is deleted later: their change is told, and the next page too."""
    nights, made = history(engine, [1, 5], names=("ada", "bob"))
    deletions.delete_night(engine, made[1], actor="ops", reason="storage", at=AT)
    asked = AssetFilter(night_id=nights[0])
    everything = questions.changed(engine, asked)
    assert len(everything) == 2
    assert pages_of_changes(engine, asked) == everything
