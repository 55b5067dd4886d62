"""Model versions in MLflow: one per trained generator, found again by a rerun; aliases name champion and challenger.

The truth about what users see is the catalogue's `live_release`; the champion alias follows it (`reconcile`).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from personalgen.artifacts import read_json, sha256_file
from personalgen.errors import ArtifactError, NotFoundError, RegistryError
from personalgen.registry.export import Exportable, load_pt2, save_pt2
from personalgen.registry.store import process_wide, refusals
from personalgen.registry.tracking import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

CHAMPION, CHALLENGER = "champion", "challenger"
DIGEST_TAG = "generator_sha256"
FOLDER = "generator"
_SCHEME = "models:/"
WEIGHTS, CARD = "generator.safetensors", "card.json"


@dataclass(frozen=True)
class ModelVersion:
    """One registered generator."""

    version: int
    run_id: str
    """Of the run that trained it."""
    model_id: str
    """MLflow's logged model: the pt2 export, with weights, card and basis in the folder `generator` beside it."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def generator_sha256(self) -> str:
        """Digest of the weights."""
        return self.tags.get(DIGEST_TAG, "")


@dataclass(frozen=True)
class ModelRegistry:
    """The versions of one registered model."""

    tracking: Tracking
    model_name: str

    def register(
        self, folder: Path, *, run_id: str, export: Exportable, tags: Mapping[str, str] | None = None
    ) -> ModelVersion:
        """Return the version of the generator in `folder`, made where this run has none with these weights.

        `folder` (generator.safetensors, card.json, the basis and whatever else a night needs) is copied as it is beside
        the pt2 model made of `export`. After a kill in between, a rerun goes on where it stopped: no second version.

        Raises:
            ArtifactError: the weights are missing or are not those of the card.
            RegistryError: `export` cannot be exported, or MLflow refused.
        """
        sha256 = checked_digest(folder)
        export.check()
        with refusals(f"{self.model_name} got no version for run {run_id}"):
            found = self._find(run_id, sha256)
            if found is not None:
                return found
            model_id = self._logged(run_id, sha256) or self._log(folder, run_id, sha256, export)
            self._create_model()
            with process_wide(self.tracking.uri):
                all_tags = {**(tags or {}), DIGEST_TAG: sha256}
                return _version(
                    self._client.create_model_version(self.model_name, _SCHEME + model_id, run_id, all_tags)
                )

    def restore(
        self, version: int, folder: Path, *, run_id: str, export: Exportable, tags: Mapping[str, str]
    ) -> ModelVersion:
        """Return what `register` made of `folder`, under a number that is free in this registry and was its own.

        MLflow counts; numbers in between are made and deleted.

        Raises:
            RegistryError: the registry has given out that number.
        """
        made = self.register(folder, run_id=run_id, export=export, tags=tags)
        while made.version < version:
            with refusals(f"version {version} was not restored"):
                self._client.delete_model_version(self.model_name, str(made.version))
            made = self.register(folder, run_id=run_id, export=export, tags=tags)
        if made.version > version:
            raise RegistryError(
                f"{self.model_name} gave the number {made.version} to what the catalogue knows as version {version}: "
                "the registry is not the one of this home, nor empty. Name the right one under store.tracking_uri, or "
                "another store.model_name. What is live was not changed."
            )
        return made

    def list_versions(self) -> list[ModelVersion]:
        """Return all versions, oldest first."""
        return sorted(self._search(f"name = '{self.model_name}'"), key=lambda version: version.version)

    def get(self, version: int) -> ModelVersion:
        """Return one version.

        Raises:
            NotFoundError: there is none of this number.
        """
        for found in self._search(f"name = '{self.model_name}' and version_number = {int(version)}"):
            return found
        raise NotFoundError(
            f"{self.model_name} has no version {version}; see personalgen models list. Nothing was changed."
        )

    def fetch(self, version: int, *, into: Path | None = None) -> Path:
        """Return the folder with a version's weights, card and basis; a local store is read in place without `into`.

        Raises:
            ArtifactError: the weights are not those that were registered.
        """
        found = self.get(version)
        folder = self._download(found, FOLDER, into)
        if checked_digest(folder) != found.generator_sha256:
            raise ArtifactError(
                f"{folder} does not hold the weights of {self.model_name} version {version}. Restore it from a backup, "
                "or roll back to another version. Nothing was read from it."
            )
        return folder

    def load_pt2(self, version: int) -> nn.Module:
        """Return the exported module of a version: plain tensors in, images out."""
        return load_pt2(str(self._download(self.get(version), "", None)))

    def aliases(self) -> dict[str, int]:
        """Return the version behind each alias; empty where nothing is registered."""
        client = self._client
        from mlflow import MlflowException

        try:
            found = client.get_registered_model(self.model_name).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: int(version) for alias, version in found.items()}

    def set_challenger(self, version: int) -> None:
        """Point the alias challenger at `version`."""
        self._set_alias(CHALLENGER, version)

    def set_champion(self, version: int) -> None:
        """Point the alias champion at `version`, which is no challenger any more."""
        self._set_alias(CHAMPION, version)
        if self.aliases().get(CHALLENGER) == version:
            self._client.delete_registered_model_alias(self.model_name, CHALLENGER)

    def reconcile(self, live_version: int | None) -> tuple[str, ...]:
        """Make the aliases agree with what is live (None: nothing); return what was repaired, in words."""
        before = self.aliases()
        if live_version is None:
            if CHAMPION in before:
                self._client.delete_registered_model_alias(self.model_name, CHAMPION)
        elif before.get(CHAMPION) != live_version or before.get(CHALLENGER) == live_version:
            self.set_champion(live_version)
        after = self.aliases()
        return tuple(
            f"{alias}: {before.get(alias)} -> {after.get(alias)}"
            for alias in (CHAMPION, CHALLENGER)
            if before.get(alias) != after.get(alias)
        )

    def tag(self, version: int, key: str, value: str) -> None:
        """Set a tag on a version."""
        with refusals(f"version {version} got no tag {key}"):
            self._client.set_model_version_tag(self.model_name, str(self.get(version).version), key, value)

    @property
    def _client(self) -> "MlflowClient":
        """MLflow's client; asked for before anything is imported from mlflow, so that its switches are set."""
        return self.tracking.client

    def _set_alias(self, alias: str, version: int) -> None:
        """Point an alias at an existing version."""
        with refusals(f"the alias {alias} was not moved"):
            self._client.set_registered_model_alias(self.model_name, alias, str(self.get(version).version))

    def _create_model(self) -> None:
        """Make the registered model where it is missing."""
        from mlflow import MlflowException

        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _search(self, query: str) -> list[ModelVersion]:
        """Return the versions that fit a filter, in any order."""
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = self._client.search_model_versions(query, page_token=token)
            found += [_version(version) for version in page]
            token = page.token
            if not token:
                return found

    def _find(self, run_id: str, sha256: str) -> ModelVersion | None:
        """Return the version that this run made of these weights, or None."""
        versions = self._search(f"name = '{self.model_name}' and run_id = '{run_id}'")
        return next((version for version in versions if version.generator_sha256 == sha256), None)

    def _logged(self, run_id: str, sha256: str) -> str | None:
        """Return the finished model that a killed registration left, or None; unfinished ones are deleted."""
        ready = None
        for model in self._client.search_logged_models([self.tracking.experiment_id], f"source_run_id = '{run_id}'"):
            if str(model.status) != "READY":
                self._client.delete_logged_model(model.model_id)
            elif model.tags.get(DIGEST_TAG) == sha256:
                ready = str(model.model_id)
        return ready

    def _log(self, folder: Path, run_id: str, sha256: str, export: Exportable) -> str:
        """Log the pt2 model with `folder` beside it and return its id; it is READY only when all files are there."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        logged = self._client.create_logged_model(
            self.tracking.experiment_id, name=FOLDER, source_run_id=run_id, tags={DIGEST_TAG: sha256}, model_type=FOLDER
        )
        described = Model(
            artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id
        )
        with tempfile.TemporaryDirectory() as temporary:
            save_pt2(export, Path(temporary) / "model", mlflow_model=described)
            self._client.log_model_artifacts(logged.model_id, str(Path(temporary) / "model"))
        self._client.log_model_artifacts(logged.model_id, str(folder), FOLDER)
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self._client.finalize_logged_model(logged.model_id, "READY")
        return str(logged.model_id)

    def _download(self, version: ModelVersion, path: str, into: Path | None) -> Path:
        """Return a local folder with the model's artifacts below `path`."""
        from mlflow.artifacts import download_artifacts

        uri = self.tracking.uri
        with refusals(f"the files of version {version.version} could not be read"):
            logged: LoggedModel = self._client.get_logged_model(version.model_id)
            place = download_artifacts(
                f"{logged.artifact_location}/{path}".rstrip("/"),
                dst_path=None if into is None else str(into),
                tracking_uri=uri,
                registry_uri=uri,
            )
        return Path(place)


def checked_digest(folder: Path) -> str:
    """Return the sha256 of the weights in `folder`, which its card must name.

    Raises:
        ArtifactError: a file is missing, or the card names another digest.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ArtifactError(f"{weights} does not exist. Rerun train. Nothing was registered or loaded.")
    found, named = sha256_file(weights), read_json(folder / CARD).get("generator_sha256")
    if found != named:
        raise ArtifactError(
            f"{weights} has sha256 {found[:12]}…, {folder / CARD} names {str(named)[:12]}…: they do not belong "
            "together. Rerun train. Nothing was registered or loaded."
        )
    return found


def _version(found: "MlflowVersion") -> ModelVersion:
    """Return MLflow's record as ours."""
    model_id = str(found.source).removeprefix(_SCHEME)
    return ModelVersion(version=int(found.version), run_id=str(found.run_id), model_id=model_id, tags=dict(found.tags))
