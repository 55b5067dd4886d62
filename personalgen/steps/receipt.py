"""The receipt of an erasure: what was removed where, and what remains and why, in words for whoever asked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from personalgen.catalogue import read
from personalgen.catalogue.erasures import Erasing
from personalgen.recommenders.base import Forgetting
from personalgen.steps.erased_ids import KEY_FILE
from personalgen.steps.workspace import Workspace
from personalgen.tables.forgotten import ERASED

_ALWAYS = (
    "in the catalogue: the number that stood for the person, and a keyed digest of the id, to know source rows by",
    "in models: what training learnt from the person's likes among everybody's; one made from scratch has none of it",
    "in evaluation.png of nights and MLflow's copies: at most 8 people, without names; nobody noted whom",
    "in the source, in backups and in exported images: these are yours to clean",
)


@dataclass(frozen=True)
class Receipt:
    """What was done for one person, who is named by a key alone."""

    user_key: int
    requested_at: str
    erased_at: str
    shards: tuple[str, ...]
    """Where images were, which are zeros now."""
    contact_sheets: tuple[str, ...]
    """Reports whose sheet was removed, as it showed the person or nobody noted whom it shows."""
    remains: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def receipt_of(
    workspace: Workspace,
    one: Erasing,
    *,
    sheets: Sequence[str],
    unread: Sequence[str],
    forgot: Forgetting | None,
) -> Receipt:
    """Return the receipt of what was done now; `unread` are files of the shard root that nothing is known of."""
    return Receipt(
        user_key=one.user_key,
        requested_at=one.requested_at.isoformat(),
        erased_at=workspace.now().isoformat(),
        shards=tuple(f"{workspace.shard_root.url}/{path}" for path in one.shards),
        contact_sheets=tuple(sheets),
        remains=(*_remains(workspace, one, sheets, forgot), *_unread(unread)),
    )


def _remains(workspace: Workspace, one: Erasing, sheets: Sequence[str], forgot: Forgetting | None) -> list[str]:
    told = [*_ALWAYS, f"the key of that digest, in {workspace.data / KEY_FILE}"]
    if sheets:
        runs = [night.mlflow_run_id for night in read.nights(workspace.engine, limit=10_000) if _is_of(night, sheets)]
        told.append(
            "in MLflow: copies of the contact sheets named above, with the id in the picture, in the report runs below "
            + (", ".join(str(run) for run in runs) or "runs that the catalogue does not name")
            + "; delete those runs' artifacts to be rid of them"
        )
    if forgot is Forgetting.NEXT_SOLVE:
        told.append("in the recommender: its coefficients, until the next night solves them from the sums that remain")
    if not workspace.settings.catalogue_url.startswith("sqlite"):
        told.append(
            "in PostgreSQL's pages and log: deleted rows, until its own vacuum and archiving have passed over them"
        )
    if one.user_id.startswith(ERASED):
        told.append("files were searched only if the id was given: the catalogue does not know it any more")
    return told


def _is_of(night: Any, folders: Sequence[str]) -> bool:
    """Return whether one of these report folders is the night's."""
    return f"{night.day}-{night.night_key[:8]}" in folders


def _unread(files: Sequence[str]) -> list[str]:
    if not files:
        return []
    return [
        f"perhaps in {len(files)} shards that the catalogue does not know and whose rows cannot be read: {files[0]} …"
    ]
