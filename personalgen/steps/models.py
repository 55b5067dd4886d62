"""People's decisions about model versions: the manual override of the gate, and the way back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from personalgen.artifacts import canonical_json, read_json
from personalgen.catalogue import read
from personalgen.catalogue import release as decisions
from personalgen.catalogue.rows import LiveRelease, ModelVersion
from personalgen.embeddings import load_basis, save_basis
from personalgen.errors import ConfigError, NotFoundError
from personalgen.models import ModelCard, load_card, load_generator, save_generator
from personalgen.registry.onnx_file import save_onnx
from personalgen.steps.embed import Embedded
from personalgen.steps.evaluate import Evaluated
from personalgen.steps.generate import generate_missing
from personalgen.steps.night import Night, from_json, stage_result
from personalgen.steps.register import exportable
from personalgen.steps.train import trained_tonight
from personalgen.steps.workspace import Workspace
from personalgen.training import save_companions
from personalgen.worlds import find_world

_MANY_NIGHTS = 100_000
_OF_THE_START = ("commands", "history", "settings_digest", "train", "start")
"""Facts of a snapshot that a snapshot trained from it repeats."""


@dataclass(frozen=True)
class Moved:
    """What is live now."""

    live_version: int
    before: int
    """0 where nothing was live."""
    n_assets: int
    """Images that had to be made first."""
    n_without: int
    """Users who may get images and have none of the live model."""
    day: str = ""
    """Night whose preferences the images were drawn from; empty where none were needed."""


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written."""

    inputs: tuple[str, ...]
    difference: float
    """Largest difference of a pixel from torch's, in units of [-1, 1]."""


def list_versions(workspace: Workspace) -> list[dict[str, Any]]:
    """Return one row per registered version, newest first."""
    live, aliases = workspace.live(), workspace.registry.aliases()
    names = {version: alias for alias, version in aliases.items()}
    return [
        {
            "version": each.version,
            "alias": names.get(each.version, ""),
            "live": bool(live and live.model_version_id == each.model_version_id),
            "night_id": each.night_id,
            **_figures(each),
            "basis": each.basis_version[:8],
            "sha256": each.generator_sha256[:12],
            "created_at": str(each.created_at)[:19],
        }
        for each in read.model_versions(workspace.engine, model_name=workspace.settings.store.model_name)
    ]


def promote_version(workspace: Workspace, version: int, *, reason: str, actor: str) -> Moved:
    """Return what is live after making `version` live; images that its users lack are generated first.

    Raises:
        NotFoundError: there is no such version, or no night embedded anybody.
        ConfigError: the reason is empty. Nothing is changed in either case.
    """
    _require_reason(reason)
    model = read.model_by_version(workspace.engine, workspace.settings.store.model_name, version)
    before = workspace.live()
    night, embedded = newest_night(workspace)
    n_assets, repointing = generate_missing(workspace, night, embedded, model)
    point = workspace.settings.generation.operating_point
    decisions.release(
        workspace.engine,
        model.model_version_id,
        operating_point=asdict(point),
        operating_point_digest=point.digest(),
        night_id=None,
        reason=reason,
        actor=actor,
        at=workspace.now(),
        action="manual",
        repointing=repointing,
    )
    workspace.follow_live()
    return replace(_moved(workspace, version, before, n_assets), day=night.day)


def roll_back(workspace: Workspace, version: int | None, *, reason: str, actor: str) -> Moved:
    """Return what is live after moving the pointer back to `version`, or to the release before the live one.

    Raises:
        NotFoundError: there is no such version, or it was never live.
        ConfigError: the reason is empty. Nothing is changed in either case.
    """
    _require_reason(reason)
    name = workspace.settings.store.model_name
    before = workspace.live()
    to = read.model_by_version(workspace.engine, name, version).model_version_id if version is not None else None
    found = decisions.rollback(workspace.engine, reason=reason, actor=actor, at=workspace.now(), to=to)
    live = read.model_by_id(workspace.engine, found)
    workspace.follow_live()
    return _moved(workspace, live.version, before, 0)


def _moved(workspace: Workspace, version: int, before: LiveRelease | None, n_assets: int) -> Moved:
    n_without = read.users_without_live(workspace.engine)
    return Moved(version, before.version if before else 0, n_assets, n_without)


def export_onnx(workspace: Workspace, version: int, out: Path) -> Exported:
    """Write `version` as one ONNX file whose metadata name the version, its weights, basis and condition.

    Raises:
        NotFoundError: there is no such version.
        ConfigError: `out` is no place for a file.
        RegistryError: the extra `onnx` is missing, or the file draws other pictures. Nothing is written.
    """
    if out.is_dir() or (out.parent.exists() and not out.parent.is_dir()):
        raise ConfigError(f"{out} must be the name of a file in a folder. Nothing was written.")
    name = workspace.settings.store.model_name
    folder = workspace.registry.fetch(version)
    card, export = load_card(folder), exportable(folder)
    facts = {
        "model_name": name,
        "version": str(version),
        "generator_sha256": card.generator_sha256,
        "basis_version": card.basis_version,
        "condition_spec": canonical_json(card.spec.to_dict()),
        "operating_point": canonical_json(asdict(workspace.settings.generation.operating_point)),
    }
    return Exported(export.input_names, save_onnx(export, out, facts=facts))


def write_snapshot(workspace: Workspace, night: Night, out: Path, *, commands: Sequence[str]) -> ModelCard:
    """Write tonight's generator, discriminators and basis below `out`, in half precision, as a place to start from.

    The card holds what made it: commands, settings, split, people, licence of the source, the same of what it started
    from, and the figures where they were measured.

    Raises:
        NotFoundError: nothing was trained tonight.
    """
    trained = trained_tonight(night)
    folder = Path(trained.folder)
    generator, card = load_generator(folder)
    measured, world = (night.path / "evaluate.json").is_file(), workspace.settings.world.name
    start = stage_result(night, Embedded).start
    facts = {
        **card.facts,
        "commands": list(commands),
        "settings_digest": workspace.settings.digest(),
        "train": asdict(workspace.settings.train),
        "history": asdict(workspace.settings.world.history) if world else {},
        "start": _of_the_start(Path(start)) if start else {},
        "simulated_world": world,
        "licence": find_world(world).licence if world else "",
        "figures": stage_result(night, Evaluated).challenger if measured else {},
    }
    save_companions(out, folder.parent, half=True)
    save_basis(out, load_basis(folder))
    return save_generator(
        out, generator, basis_version=card.basis_version, trained_kimg=card.trained_kimg, facts=facts, half=True
    )


def newest_night(workspace: Workspace) -> tuple[Night, Embedded]:
    """Return the newest night that has embedded people.

    Raises:
        NotFoundError: there is none.
    """
    night = newest_embedded(workspace)
    if night is None:
        raise NotFoundError("no night has embedded anybody: run `personalgen embed` first. Nothing was changed.")
    return night, stage_result(night, Embedded)


def newest_embedded(workspace: Workspace) -> Night | None:
    """Return the newest night that has embedded people, or None; a backfill looks back."""
    for known in read.nights(workspace.engine, limit=_MANY_NIGHTS):
        folder = workspace.data / "nights" / known.night_key[:16]
        if known.kind != "backfill" and (folder / "embed.json").is_file():
            return from_json(Night, read_json(folder / "prepare.json"))
    return None


def _of_the_start(folder: Path) -> dict[str, Any]:
    """Return what the card of a start says of its own making; one that a night made knows no commands."""
    facts = load_card(folder).facts
    return {key: facts[key] for key in _OF_THE_START if key in facts}


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ConfigError("the reason is empty; it is kept for ever, so write a few words. Nothing was changed.")


def _figures(model: ModelVersion) -> dict[str, Any]:
    """Return the figures of the night that made a version."""
    found = (model.verdict or {}).get("evaluation", {})
    return {name: found.get(name) for name in ("kid", "kid_floor", "fit_gain", "npg")}
