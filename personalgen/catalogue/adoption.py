"""What the catalogue knows of the rows of a shard that it does not know."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, select

from personalgen.catalogue.bulk import chunks
from personalgen.catalogue.read import reading
from personalgen.catalogue.schema import asset, user


@dataclass(frozen=True)
class KnownRows:
    """Who and what of some rows is in the catalogue."""

    user_ids: Mapping[int, str]
    """The name of each person by key; without those who were forgotten."""
    n_assets: int
    """How many of the images have a row."""


_KEY = ("user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant")


def known_rows(engine: Engine, natural_keys: Collection[tuple[int, ...]]) -> KnownRows:
    """Return whom of the people of these images the catalogue knows, and how many of the images.

    A key is (user_key, generator_digest, condition_digest, operating_point_digest, variant).
    """
    names: dict[int, str] = {}
    wanted, found = set(natural_keys), 0
    columns = [asset.c[name] for name in _KEY]
    generators = sorted({key[1] for key in wanted})
    with reading(engine) as connection:
        for part in chunks(sorted({key[0] for key in wanted})):
            people = select(user.c.user_key, user.c.user_id).where(user.c.user_key.in_(part), ~user.c.forgotten)
            names.update((row.user_key, row.user_id) for row in connection.execute(people))
            theirs = select(*columns).where(asset.c.generator_digest.in_(generators), asset.c.user_key.in_(part))
            found += sum(tuple(row) in wanted for row in connection.execute(theirs))
    return KnownRows(names, found)
