"""Fills a tracking store that was lost from the catalogue and the models' folders, which are the truth."""

import logging

from personalgen.artifacts import read_json, write_json
from personalgen.catalogue import read
from personalgen.steps.night import Night, from_json
from personalgen.steps.register import exportable
from personalgen.steps.workspace import Workspace

RESTORED = "restored"


def restore_versions(workspace: Workspace) -> tuple[int, ...]:
    """Register every model version of the catalogue again, under its number, where the registry has none at all.

    What MLflow held besides (runs, metrics, tags) is gone. A registry that holds some versions is left as it is: who
    deleted the others there meant it. Returns the versions that were restored.

    Raises:
        RegistryError: the registry gives out other numbers than the catalogue's.
        ArtifactError: the folder of a model is gone or changed.
    """
    name = workspace.settings.store.model_name
    versions = sorted(read.model_versions(workspace.engine, model_name=name), key=lambda model: model.version)
    if not versions or workspace.registry.list_versions():
        return ()
    logging.getLogger(__name__).warning(
        "MLflow's store %s is new, and the catalogue knows %d versions of %s: they are registered again; earlier runs "
        "and metrics are gone. If the store only moved, name it under store.tracking_uri.",
        workspace.settings.public()["store"]["tracking_uri"] or "mlflow.db",
        len(versions),
        name,
    )
    with workspace.tracking.stage_run("restore") as run:
        for model in versions:
            folder = workspace.model_folder(model.model_version_id)
            tags = {"basis_version": model.basis_version, RESTORED: "from the catalogue"}
            workspace.registry.restore(model.version, folder, run_id=run.run_id, export=exportable(folder), tags=tags)
    return tuple(model.version for model in versions)


def with_known_run(workspace: Workspace, night: Night) -> Night:
    """Return the night with a parent run that the tracking store has: another one where its own is gone."""
    if workspace.tracking.knows(night.parent_run_id):
        return night
    path = night.path / "prepare.json"
    with workspace.tracking.parent_run(night.key, name=f"night-{night.day}-{night.key[:8]}") as parent:
        parent.log_params(workspace.settings.public())
        parent.set_tags({RESTORED: "the run of the attempts before is gone"})
    write_json(path, read_json(path) | {"parent_run_id": parent.run_id})
    return from_json(Night, read_json(path))
