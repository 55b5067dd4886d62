"""Registers tonight's generator as a model version and makes it the challenger."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from personalgen.artifacts import fsync_folder
from personalgen.catalogue import read, write
from personalgen.catalogue.facts import ModelFacts
from personalgen.models import TensorGenerator, load_card, load_generator
from personalgen.registry.export import Exportable
from personalgen.registry.run import Run
from personalgen.steps.evaluate import Evaluated
from personalgen.steps.night import Night, run_stage
from personalgen.steps.train import Trained
from personalgen.steps.workspace import Workspace


@dataclass(frozen=True)
class Registered:
    """Tonight's challenger in registry and catalogue."""

    stage: ClassVar[str] = "register"

    version: int
    """0 where nothing was trained, and nothing is registered."""
    model_version_id: int
    folder: str
    """Relative to home."""
    generator_sha256: str


def register(workspace: Workspace, night: Night, trained: Trained, evaluated: Evaluated) -> Registered:
    """Return tonight's challenger: one version per trained generator, however often the stage is run."""
    return run_stage(workspace, night, Registered, lambda run: _register(workspace, night, trained, evaluated, run))


def _register(workspace: Workspace, night: Night, trained: Trained, evaluated: Evaluated, run: Run) -> Registered:
    if trained.skipped:
        return Registered(version=0, model_version_id=0, folder="", generator_sha256="")
    model_name = workspace.settings.store.model_name
    folder = keep_model(workspace, Path(trained.folder))
    card = load_card(folder)
    if not workspace.tracking.knows(trained.run_id):  # the store was lost since
        trained = replace(trained, run_id=run.run_id)
    version = _version(workspace, night, trained, folder, card.generator_sha256)
    workspace.registry.set_challenger(version)
    relative = str(folder.relative_to(workspace.settings.root))
    model_version_id = write.register_model(
        workspace.engine,
        ModelFacts(
            model_name=model_name,
            version=version,
            generator_sha256=card.generator_sha256,
            basis_version=card.basis_version,
            condition_spec=card.spec.to_dict(),
            folder=relative,
            mlflow_run_id=trained.run_id,
            night_id=night.night_id,
            verdict={"evaluation": evaluated.challenger},
        ),
        at=workspace.now(),
    )
    found = read.model_by_id(workspace.engine, model_version_id)
    run.set_tags({"model_name": model_name, "model_version": found.version})
    return Registered(
        version=found.version,
        model_version_id=model_version_id,
        folder=relative,
        generator_sha256=card.generator_sha256,
    )


def _version(workspace: Workspace, night: Night, trained: Trained, folder: Path, sha256: str) -> int:
    """Return the version of these weights: that of an earlier night which trained to the same, else one of their own.

    A night trains to the same weights as one before where only what training does not see is new.
    """
    known = read.model_by_weights(workspace.engine, sha256)
    if known is not None and known.model_name == workspace.settings.store.model_name:
        return known.version
    tags = {"night_key": night.key, "day": night.day, "basis_version": trained.basis_version}
    return workspace.registry.register(folder, run_id=trained.run_id, export=exportable(folder), tags=tags).version


def keep_model(workspace: Workspace, trained: Path) -> Path:
    """Copy a trained model's folder to its lasting place, named by its weights; return that place."""
    card = load_card(trained)
    folder = workspace.data / "models" / card.generator_sha256[:16]
    if not folder.is_dir():
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(trained, temporary)
        temporary.rename(folder)
        fsync_folder(folder.parent)
    return folder


def exportable(folder: Path) -> Exportable:
    """Return the generator in `folder` as a module of plain tensors with example inputs."""
    generator, _ = load_generator(folder)
    module = TensorGenerator(generator).eval()
    return Exportable(module, module.example_inputs(), module.input_names)
