"""Reads the source, sets bad rows aside, and says which night this is."""

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from personalgen.artifacts import digest_of, read_json, remove_temporaries, write_json
from personalgen.catalogue import read, write
from personalgen.catalogue.facts import HistorySummaries, ItemFacts, NightFacts, NightKind, QuarantineFacts
from personalgen.catalogue.rows import Night as NightRow
from personalgen.catalogue.summaries import replace_summaries
from personalgen.errors import ConfigError, NotFoundError
from personalgen.registry.run import Run
from personalgen.status.places import refused_path
from personalgen.steps.delete_night import finish_deletions, tables_needed
from personalgen.steps.erased_ids import people_not_read
from personalgen.steps.forget import finish_erasures
from personalgen.steps.health import check_source, record_checks
from personalgen.steps.night import Night, from_json, require_newest, require_results
from personalgen.steps.own_identity import own_identity
from personalgen.steps.restore import restore_versions, with_known_run
from personalgen.steps.watch import tell_night
from personalgen.steps.workspace import Workspace
from personalgen.tables import Prepared, PreparedTables, SourceOptions, load_prepared, prepare_tables, split_of
from personalgen.worlds import find_world, write_history

_OTHERS = ("shards", ".prefect", "mlartifacts")
"""What `repair` sweeps, and what Prefect and MLflow write."""


def prepare(
    workspace: Workspace,
    *,
    as_of: datetime | None = None,
    flow_run_id: str | None = None,
    kind: NightKind = "nightly",
    from_scratch: bool = False,
    needs: Sequence[type[Any]] = (),
) -> Night:
    """Return tonight's night: tables validated and sealed, users and items known to the catalogue.

    Without `as_of` the night ends one second after the newest event until now, or where the newest night ended. The
    same source content, instant, settings and kind give the same night, however often it is prepared. `from_scratch`
    is for a retrain. A backfill is prepared by `backfill.prepare_past`. A night that lacks one of the stages' results
    that the caller `needs` is neither begun nor gone on with.

    Raises:
        NotFoundError: a stage that the caller needs has not run.
        SourceError: the source cannot be opened, or lacks a table or column.
        DataError: too many rows are unusable.
        HealthError: the tables do not look like those of earlier nights.
        ConfigError: the home serves another source already, knows people by other ids, a later night than this is done
            there, or nothing is live that could only generate. Nothing is changed in any of these cases.
    """
    with workspace.journal.stage(Night.stage):
        night = _prepare(workspace, as_of, flow_run_id, kind, from_scratch=from_scratch, needs=needs)
    tell_night(workspace, night)
    return night


def find_night(workspace: Workspace, *, as_of: datetime | None = None, needs: Sequence[type[Any]]) -> Night:
    """Return tonight's night as it stands, for those who only read its results: none is begun, or gone on with.

    The caller holds the home, as the source is read to tell which night this is.

    Raises:
        NotFoundError: there is no such night, or a stage that the caller needs has not run. Nothing is changed.
    """
    sought = _seek(workspace, as_of)
    _require(workspace, sought, needs)
    return from_json(Night, read_json(sought.folder / "prepare.json"))


def _prepare(
    workspace: Workspace,
    as_of: datetime | None,
    flow_run_id: str | None,
    kind: NightKind,
    *,
    from_scratch: bool,
    needs: Sequence[type[Any]],
) -> Night:
    sought = _seek(workspace, as_of, kind, from_scratch=from_scratch)
    tables, key, newest = sought.tables, sought.key, sought.newest
    if sought.is_begun:
        _require(workspace, sought, needs)
        return _again(workspace, tables, sought.folder, key=key, newest=newest, flow_run_id=flow_run_id)
    require_newest(workspace, tables.as_of, newest)
    checks = check_source(workspace, tables, key, newest)
    _require(workspace, sought, needs)
    restore_versions(workspace)
    workspace.follow_live()

    def catalogue(workspace: Workspace, prepared: Prepared, night_id: int) -> None:
        _catalogue(workspace, prepared, night_id)
        record_checks(workspace, night_id, checks)

    return begin_night(
        workspace, tables, catalogue, key=key, flow_run_id=flow_run_id, kind=kind, from_scratch=from_scratch
    )


@dataclass(frozen=True)
class _Sought:
    """The night that settings and an instant ask for."""

    tables: PreparedTables
    newest: datetime | None
    """End of the last night that is done."""
    key: str
    folder: Path
    is_begun: bool


def _seek(
    workspace: Workspace, as_of: datetime | None, kind: NightKind = "nightly", *, from_scratch: bool = False
) -> _Sought:
    """Return which night it is, by what the source holds; what earlier processes left half done is finished first."""
    settings = workspace.settings
    remove_temporaries(workspace.data, but=_OTHERS)
    if workspace.has_catalogue:
        finish_erasures(workspace)
        finish_deletions(workspace)
    of_kind = _of_kind(workspace, kind, from_scratch=from_scratch)
    newest = read.newest_as_of(workspace.engine) if workspace.has_catalogue else None
    tables = prepare_tables(
        source_of(workspace),
        limits=settings.limits,
        image_px=settings.model.resolution,
        out_root=workspace.data / "prepared",
        as_of=as_of,
        now=workspace.now(),
        not_before=newest,
        forgotten=people_not_read(workspace),
        identity=own_identity(workspace),
        progress=lambda stage, done: workspace.progress(stage, done, 0),
    )
    require_own_source(workspace)
    key = night_key(tables, settings.source.name, settings.digest(), of_kind)
    folder = night_folder(workspace, key)
    is_begun = (folder / "prepare.json").is_file() and read.night_by_key(workspace.engine, key) is not None
    return _Sought(tables, newest, key, folder, is_begun)


def _require(workspace: Workspace, sought: _Sought, needs: Sequence[type[Any]]) -> None:
    """Return if these stages have run for the night; else the tables that were read for it alone go again.

    Raises:
        NotFoundError: one has not.
    """
    day = _day(workspace, sought.tables)
    try:
        require_results(sought.folder, needs, day=day.isoformat(), key=sought.key)
    except NotFoundError:
        tables = Path(sought.tables.folder)
        if not sought.is_begun and tables not in tables_needed(workspace, but=sought.folder):
            shutil.rmtree(tables, ignore_errors=True)
        raise


def _day(workspace: Workspace, tables: PreparedTables) -> date:
    """Return the date of the instant that tables end at, in the schedule's zone."""
    return tables.as_of.astimezone(ZoneInfo(workspace.settings.store.time_zone)).date()


def _of_kind(workspace: Workspace, kind: NightKind, *, from_scratch: bool) -> tuple[object, ...]:
    """Return what tells a night of this kind from others of its instant; what is live for one that only generates."""
    if kind == "nightly":
        return ()
    if kind == "retrain":
        return (kind, "scratch" if from_scratch else "warm")
    live = workspace.live() if workspace.has_catalogue else None
    if live is None:
        raise ConfigError(
            f"nothing is live in {workspace.settings.root}, so that there is no model to generate with. Run "
            "`personalgen nightly` first, or `personalgen models promote`. Nothing was read."
        )
    return (kind, live.generator_digest, live.operating_point_digest)


def night_folder(workspace: Workspace, key: str) -> Path:
    """Return where the results of a night lie."""
    return workspace.data / "nights" / key[:16]


def source_of(workspace: Workspace) -> SourceOptions:
    """Return the source to read; a simulated history is written first where it is missing.

    Raises:
        ConfigError: the settings ask for both a simulated and a real source.
    """
    settings = workspace.settings
    if not settings.world.name:
        return settings.source
    if settings.source.path or settings.source.url:
        raise ConfigError(
            f"world.name = {settings.world.name!r} asks for a simulated history, and source.path or source.url for a "
            "real one: a night reads one of them. Drop one. Nothing was read."
        )
    folder = settings.under_home(settings.world.folder)
    database = write_history(find_world(settings.world.name), folder, settings.world.history)
    return replace(settings.source, url=f"sqlite:///{database}", image_root=str(folder), users="users")


def require_own_source(workspace: Workspace) -> None:
    """Return if this home has no nights of another source, whose users would be taken for this one's."""
    name = workspace.settings.source.name
    newest = read.nights(workspace.engine, limit=1)
    if newest and newest[0].source != name:
        raise ConfigError(
            f"{workspace.settings.root} serves the source {newest[0].source!r}, and source.name is {name!r}: one home "
            f"serves one source, for whose users its champion was judged. Give a home of its own with --set home=…, or "
            f"keep the name if it is the same source. The catalogue was not changed."
        )


def night_key(tables: PreparedTables, source: str, config_digest: str, of_kind: Sequence[object] = ()) -> str:
    """Return the 32 hex digits that identify a night; `of_kind` is what one that is not nightly adds."""
    return digest_of([source, tables.as_of.isoformat(), tables.source_digest, config_digest, *of_kind])


def _again(
    workspace: Workspace,
    tables: PreparedTables,
    folder: Path,
    *,
    key: str,
    newest: datetime | None,
    flow_run_id: str | None,
) -> Night:
    """Return a night that was prepared before, counting one more attempt unless it is done.

    The source may have said something else in between, so who opted out and who is listed is told again.
    """
    night = from_json(Night, read_json(folder / "prepare.json"))
    known = read.night_by_key(workspace.engine, key)
    if known is not None and known.status != "done":
        require_newest(workspace, tables.as_of, newest)
        begin_again(workspace, known, flow_run_id)
        restore_versions(workspace)
        night = with_known_run(workspace, night)
    if newest is None or tables.as_of >= newest:  # an earlier night knows nothing of people who came later
        refused_path(workspace.data).unlink(missing_ok=True)  # the source is again what this night was checked with
        _catalogue_people(workspace, load_prepared(tables.folder), night.night_id)
    return night


def begin_again(workspace: Workspace, known: NightRow, flow_run_id: str | None) -> None:
    """Count one more attempt of a night."""
    told = {name: getattr(known, name) for name in NightFacts.__dataclass_fields__}
    facts = NightFacts(**(told | {"prefect_flow_run_id": flow_run_id}))
    _bury(workspace, write.begin_night(workspace.engine, facts, at=workspace.now()), known.night_key)


def begin_night(
    workspace: Workspace,
    tables: PreparedTables,
    catalogue: Callable[[Workspace, Prepared, int], None],
    *,
    key: str,
    flow_run_id: str | None,
    kind: NightKind,
    from_scratch: bool = False,
) -> Night:
    """Return a new night after telling tracking of it, and the catalogue what `catalogue` says of its tables."""
    settings, folder = workspace.settings, night_folder(workspace, key)
    day = _day(workspace, tables)
    name = "night" if kind == "nightly" else kind
    with workspace.tracking.parent_run(key, name=f"{name}-{day}-{key[:8]}") as parent:
        facts = NightFacts(
            night_key=key,
            source=settings.source.name,
            as_of=tables.as_of,
            day=day,
            source_digest=tables.source_digest,
            config_digest=settings.digest(),
            mlflow_run_id=parent.run_id,
            prefect_flow_run_id=flow_run_id,
            kind=kind,
        )
        night_id = write.begin_night(workspace.engine, facts, at=workspace.now())
        _bury(workspace, night_id, key)
        night = Night(
            key=key,
            night_id=night_id,
            folder=str(folder),
            prepared=tables.folder,
            as_of=tables.as_of.isoformat(),
            day=day.isoformat(),
            parent_run_id=parent.run_id,
            source=settings.source.name,
            n_interactions=tables.n_interactions,
            n_users=tables.n_users,
            n_items=tables.n_items,
            n_quarantined=tables.n_quarantined,
            n_after_as_of=tables.n_after_as_of,
            n_opted_out_events=tables.n_opted_out_events,
            n_unlisted_events=tables.n_unlisted_events,
            kind=kind,
            from_scratch=from_scratch,
        )
        catalogue(workspace, load_prepared(tables.folder), night_id)
        _log(workspace, parent, night, tables)
    write_json(folder / "settings.json", settings.public())
    write_json(folder / "prepare.json", asdict(night))
    return night


def _bury(workspace: Workspace, night_id: int, key: str) -> None:
    """Close the runs and nights of attempts that were killed, but for those of this night: it goes on with them.

    Whoever prepares a night holds the lock of the home, so what is open belongs to nobody who lives.
    """
    ended = workspace.tracking.close_abandoned(but=key)
    n_nights = write.close_killed_nights(workspace.engine, but=night_id, at=workspace.now())
    if ended or n_nights:
        logging.getLogger(__name__).warning(
            "%d nights and %d runs of MLflow were left open by killed processes, and are closed as killed",
            n_nights,
            len(ended),
        )


def _catalogue(workspace: Workspace, prepared: Prepared, night_id: int) -> None:
    """Write users, items and quarantine counts."""
    _catalogue_people(workspace, prepared, night_id)
    items = prepared.items
    rows = zip(items["item_id"], _or_none(items["title"]), items["image_sha256"], strict=True)
    facts = [ItemFacts(item_id=i, split=split_of(i), title=title, image_sha256=sha) for i, title, sha in rows]
    write.upsert_items(workspace.engine, facts, night_id=night_id)
    catalogue_quarantine(workspace, prepared, night_id)


def catalogue_quarantine(workspace: Workspace, prepared: Prepared, night_id: int) -> None:
    """Write how many rows were set aside, and where they lie."""
    path = str(prepared.folder.relative_to(workspace.data) / "quarantine.parquet")
    write.record_quarantine(
        workspace.engine,
        night_id,
        [
            QuarantineFacts(source_table=count.table, reason=count.reason, n_rows=count.n_rows, path=path)
            for count in prepared.tables.quarantine
        ],
    )


def _catalogue_people(workspace: Workspace, prepared: Prepared, night_id: int) -> None:
    """Write whom the source names, who of them opted out, and what their histories come to."""
    users = prepared.users
    user_ids = users["user_id"].tolist()
    write.allocate_user_keys(
        workspace.engine,
        user_ids,
        night_id=night_id,
        segments=_or_none(users["segment"]),
        opted_out=[bool(value) for value in users["opted_out"]],
    )
    write.list_users(workspace.engine, user_ids)
    history = prepared.history_summary()
    told = HistorySummaries(
        user_ids=tuple(history["user_id"].to_pylist()),
        **{name: history[name].to_numpy() for name in history.column_names[1:]},
    )
    replace_summaries(workspace.engine, night_id, told)


def _log(workspace: Workspace, parent: Run, night: Night, tables: PreparedTables) -> None:
    """Log settings, data digests and counts to the night's runs."""
    parent.log_params(workspace.settings.public())
    parent.log_dict(workspace.settings.public(), name="settings.json")
    parent.set_tags(
        {
            "as_of": night.as_of,
            "day": night.day,
            "kind": night.kind,
            "source": night.source,
            "source_digest": tables.source_digest,
        }
    )
    parent.log_input(night.source[:500], digest=tables.source_digest, source=tables.folder, context="history")
    with workspace.tracking.stage_run("prepare", parent.run_id) as run:
        facts = tables.facts()
        run.log_dict(facts, name="prepare.json")
        run.log_metrics({name: float(value) for name, value in facts.items() if isinstance(value, int)})


def _or_none(values: Iterable[Any]) -> list[str | None]:
    """Return texts, missing ones as None."""
    return [value if isinstance(value, str) else None for value in values]
