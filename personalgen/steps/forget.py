"""Forgets people: out of what was learnt, every table and every shard, with an intent, a ledger line and a receipt.

The intent comes first and goes with the ledger's line, so that a run which was cut anywhere is gone on with: by the
same command, by `repair`, or by the next `prepare`.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from personalgen.affinity import AffinityState
from personalgen.artifacts import digest_of
from personalgen.catalogue import erasures, read, write
from personalgen.catalogue.compact import has_residue, rewrite
from personalgen.catalogue.erasures import Erasing
from personalgen.catalogue.facts import ForgottenFacts
from personalgen.errors import ArtifactError
from personalgen.histories import History
from personalgen.recommenders.base import Forgetting
from personalgen.recommenders.by_size import NextItemModel
from personalgen.recommenders.stored import load_recommender
from personalgen.steps.erase_images import erase_images
from personalgen.steps.erased_ids import name_in_catalogue, own_key
from personalgen.steps.forget_files import forget_in_files, remove_sheets, sheets_of
from personalgen.steps.own_identity import users_named
from personalgen.steps.receipt import Receipt, receipt_of
from personalgen.steps.state import AFFINITY, Kept, history_of, kept_state, publish, save_new, state_folder
from personalgen.steps.workspace import Workspace
from personalgen.tables.forgotten import ERASED, erased_name

_MARK = ".catalogue-to-rewrite"
"""Stands below data while ids are being taken out of the catalogue's file."""


@dataclass(frozen=True)
class ForgottenPerson:
    """What was done, and when the rest will be."""

    ledger_id: int
    removed: dict[str, int]
    """How many of each kind of thing were rewritten without the person, or deleted."""
    recommender: str
    """When the recommender will have forgotten the person; empty where it had learnt nothing."""
    receipt: Receipt


def forget(workspace: Workspace, user_id: str, *, reason: str, actor: str) -> ForgottenPerson:
    """Forget a person, whom no later night reads again; the command may be repeated, and goes on where it was cut.

    Raises:
        NotFoundError: the catalogue knows no such user.
    """
    return forget_people(workspace, [user_id], reason=reason, actor=actor)[0]


def forget_people(
    workspace: Workspace, user_ids: Sequence[str], *, reason: str, actor: str
) -> tuple[ForgottenPerson, ...]:
    """Forget people in the order given, all in one go: each table and each shard is rewritten once.

    Each is named by the plain id or by the one that lists show; what was said under either goes.

    Raises:
        NotFoundError: the catalogue does not know one of them. Nothing was changed.
        ConfigError: the key by which erased people are recognised is missing, or a plain id needs the salt. Nothing was
            changed.
    """
    key, ids = own_key(workspace), users_named(workspace, user_ids)
    known = {user_id: name_in_catalogue(workspace, user_id, key) for user_id in ids.values()}
    spoke_as = known | {asked: known[user_id] for asked, user_id in ids.items()}
    names = {name: user_id for user_id, name in known.items()}
    erasures.begin_erasures(
        workspace.engine, list(names), actor=actor, reason=reason, at=workspace.now(), spoke_as=spoke_as
    )
    done = _finish(workspace, key, names, spoke_as)
    return tuple(done[user_id] for user_id in known)


def finish_erasures(workspace: Workspace) -> tuple[ForgottenPerson, ...]:
    """Go on with what an earlier run was cut in; return who was forgotten now."""
    if not erasures.open_erasures(workspace.engine):
        if (workspace.data / _MARK).exists():
            _rewrite(workspace)
        return ()
    return tuple(_finish(workspace, own_key(workspace), {}).values())


def _finish(
    workspace: Workspace, key: bytes, ids: Mapping[str, str], spoke_as: Iterable[str] = ()
) -> dict[str, ForgottenPerson]:
    """Carry out all intents; `ids` are those of people whom the catalogue knows by another name.

    `spoke_as` are all ids that opinions were deleted by; without, as after a cut, nobody knows what free pages hold.
    """
    unread = erase_images(workspace, [one.user_key for one in erasures.open_erasures(workspace.engine)])
    people = {ids.get(one.user_id, one.user_id): one for one in erasures.open_erasures(workspace.engine)}
    counts: dict[str, Counter[str]] = {user_id: Counter() for user_id in people}
    forgot = _from_state(workspace, list(people), counts)
    for user_id, own in forget_in_files(workspace, people).items():
        counts[user_id].update(own)
    sheets = sheets_of(workspace, people)
    remove_sheets(workspace, {folder for folders in sheets.values() for folder in folders})
    (workspace.data / _MARK).touch()
    done = {}
    for user_id, one in people.items():
        receipt = receipt_of(
            workspace,
            one,
            sheets=sheets.get(user_id, []),
            unread=unread,
            forgot=forgot.get(user_id),
        )
        facts = _facts(workspace, one, user_id, key, counts[user_id], receipt, forgot.get(user_id))
        ledger_id = write.record_forgotten(workspace.engine, facts, at=workspace.now())
        line = next(each for each in read.forgotten(workspace.engine) if each.forgotten_id == ledger_id)
        done[user_id] = ForgottenPerson(ledger_id, dict(line.removed), forgot.get(user_id, ""), receipt)
    _rewrite(workspace, only_with={*people, *spoke_as} if spoke_as else ())
    return done


def _facts(
    workspace: Workspace,
    one: Erasing,
    user_id: str,
    key: bytes,
    removed: Mapping[str, int],
    receipt: Receipt,
    forgot: Forgetting | None,
) -> ForgottenFacts:
    """Return what the ledger's line says, which takes the place of the intent."""
    kept = kept_state(workspace)
    subtracted = kept is not None and digest_of(user_id) in kept.subtracted
    return ForgottenFacts(
        user_id=one.user_id,
        actor=one.actor,
        reason=one.reason,
        statistics_exact=subtracted and forgot is not Forgetting.NEXT_FIT,
        removed={kind: count for kind, count in removed.items() if count},
        erased_as=one.user_id if one.user_id.startswith(ERASED) else erased_name(user_id, key),
        receipt=receipt.as_dict(),
    )


def _rewrite(workspace: Workspace, *, only_with: Iterable[str] = ()) -> None:
    """Rewrite the catalogue's file where deleted rows are still in it; with ids, only where one of them is."""
    ids = list(only_with)
    if not ids or has_residue(workspace.engine, ids):
        rewrite(workspace.engine)
    (workspace.data / _MARK).unlink(missing_ok=True)


def _from_state(
    workspace: Workspace, people: Sequence[str], counts: Mapping[str, Counter[str]]
) -> dict[str, Forgetting]:
    """Take people out of the state; return when the recommender will have forgotten each whom it knew.

    A state that no night would go on from is deleted: the next one builds it without them.
    """
    folder, kept = state_folder(workspace), kept_state(workspace)
    if not folder.is_dir():
        return {}
    found = _whole_state(workspace, kept) if kept else None
    if kept is None or found is None:
        shutil.rmtree(folder)
        for own in counts.values():
            own["state, which the next night builds"] = 1
        return dict.fromkeys(people, Forgetting.NEXT_FIT)
    affinity, history, model = found
    known = [user_id for user_id in people if _events(history, [user_id]).any()]
    when, name, subtracted = {}, kept.recommender, kept.subtracted
    if known:
        when = dict.fromkeys(known, model.forget(history.where(_events(history, known))))
        name, subtracted = save_new(folder, model), (*subtracted, *map(digest_of, known))
    parts = tuple(part.folder for part in affinity.forget(people).parts)
    publish(workspace, replace(kept, recommender=name, parts=parts, subtracted=subtracted), None)
    for own in counts.values():
        own["affinity state"] = 1
    return when


def _whole_state(workspace: Workspace, kept: Kept) -> tuple[AffinityState, History, NextItemModel] | None:
    """Return what the manifest names, or None where it is not all there, or a night was cut."""
    folder = state_folder(workspace)
    try:
        affinity = AffinityState.open(folder / AFFINITY)
        affinity.require_whole()
        history, model = history_of(workspace, kept), load_recommender(folder / kept.recommender)
    except (ArtifactError, OSError):
        return None
    return (affinity, history, model) if tuple(part.folder for part in affinity.parts) == kept.parts else None


def _events(history: History, people: Sequence[str]) -> NDArray[np.bool_]:
    """Return which events are these people's."""
    places = np.flatnonzero(np.isin(np.array(history.user_ids, dtype=object), list(people)))
    return np.isin(history.user_index, places)
