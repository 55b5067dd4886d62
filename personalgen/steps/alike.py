"""Finds whose preference is like that of a user, or like the one that an asset was made from."""

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from personalgen.artifacts import weights_key
from personalgen.catalogue import read
from personalgen.catalogue.rows import AssetLineage, SimilarUser
from personalgen.catalogue.similar import present_condition, similar
from personalgen.errors import ArtifactError, ConfigError, NotFoundError
from personalgen.generation.shards import read_sidecar
from personalgen.steps.workspace import Workspace


def similar_users(
    workspace: Workspace, *, user_id: str | None = None, asset_id: int | None = None, limit: int = 10
) -> tuple[SimilarUser, ...]:
    """Return the users whose present condition is nearest to that of a user under the live model, or to an asset's.

    An asset is compared under its own model. The one who was asked about is left out.

    Raises:
        ConfigError: not exactly one of user and asset is named.
        NotFoundError: there is no such user or asset, or the user has no asset of the live model.
        ArtifactError: the table beside the asset's shard is missing or damaged.
    """
    if (user_id is None) == (asset_id is None):
        raise ConfigError("Name exactly one of --user and --asset. Nothing was asked.")
    if asset_id is not None:
        found = read.asset(workspace.engine, asset_id)
        generator, owner = weights_key(found.generator_sha256), found.user_key
        condition = _condition_of(workspace, found)
    else:
        generator, owner, condition = _of_user(workspace, str(user_id))
    return similar(workspace.engine, condition, generator_digest=generator, limit=limit, leave_out=owner)


def _of_user(workspace: Workspace, user_id: str) -> tuple[int, int, NDArray[np.float32]]:
    """Return the live generator, the user's key and their condition under it."""
    owner, live = read.user_key(workspace.engine, user_id), workspace.live()
    condition = None if live is None else present_condition(workspace.engine, owner, live.generator_digest)
    if live is None or condition is None:
        raise NotFoundError(f"User {user_id!r} has no asset of a live model to compare with. Nothing was changed.")
    return live.generator_digest, owner, condition


def _condition_of(workspace: Workspace, found: AssetLineage) -> NDArray[np.float32]:
    """Return (dim,) what the asset was made from, which lies in the table beside its shard."""
    sidecar = read_sidecar(workspace.shard_root, found.shard_path)
    rows = None if sidecar is None else sidecar.rows.filter(pc.equal(sidecar.rows["member"], found.member))
    if rows is None or len(rows) != 1:
        raise ArtifactError(
            f"the table beside shard {found.shard_path} does not hold {found.member} once. Restore it from a "
            "backup; nothing was read."
        )
    return np.frombuffer(rows["condition"][0].as_py(), dtype="<f4").astype(np.float32)
