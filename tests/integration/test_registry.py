import hashlib
import json
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from personalgen.conditions import ConditionSpec
from personalgen.errors import ArtifactError, NotFoundError, RegistryError
from personalgen.models import ModelOptions, TensorGenerator, build_generator, load_generator, save_generator
from personalgen.registry import models as models_module
from personalgen.registry.export import Exportable
from personalgen.registry.models import ModelRegistry
from personalgen.registry.onnx_file import save_onnx
from personalgen.registry.tracking import Tracking


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tracking(home):
    """One store for the whole file: a new one costs seconds of migrations."""
    made = Tracking(f"sqlite:///{home}/mlflow.db", home / "data" / "mlartifacts", "personalgen")
    yield made
    made.client._tracking_client.store.engine.dispose()


class Toy(nn.Module):
    """z and a condition in, images out; the weights are one number."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))

    def forward(self, z, *values):
        images = self.value * z[:, :1] + values[0].sum(1, keepdim=True)
        return images[:, :, None, None].expand(-1, 3, 4, 4).clone()


def exportable(value=1.0):
    return Exportable(Toy(value).eval(), (torch.randn(2, 5), torch.randn(2, 3)), ("z", "preference"))


def trained(folder, value=1.0):
    """Write what a training run leaves: weights, a card that names their digest, a basis."""
    folder.mkdir(parents=True)
    (folder / "generator.safetensors").write_bytes(f"weights {value}".encode())
    digest = hashlib.sha256((folder / "generator.safetensors").read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps({"generator_sha256": digest}))
    (folder / "basis").mkdir()
    (folder / "basis" / "basis.json").write_text("{}")
    return folder


@pytest.fixture
def registry(tracking, request):
    return ModelRegistry(tracking, f"gan-{request.node.name}"[:200])


@pytest.fixture
def run_id(tracking, request):
    with tracking.stage_run(f"train {request.node.name}") as run:
        return run.run_id


def two_versions(registry, tracking, tmp_path):
    for n in (1, 2):
        with tracking.stage_run("train") as run:
            registry.register(trained(tmp_path / str(n), n), run_id=run.run_id, export=exportable(n))


def info(tracking, run_id):
    return tracking.client.get_run(run_id)


def test_a_night_is_one_parent_with_its_stages(tracking):
    """Children name their parent; both end FINISHED."""
    with tracking.parent_run("night-a") as parent, tracking.stage_run("train", parent.run_id) as child:
        assert info(tracking, child.run_id).info.status == "RUNNING"
    found = info(tracking, child.run_id)
    assert found.data.tags["mlflow.parentRunId"] == parent.run_id
    assert found.data.tags["stage"] == "train"
    assert {info(tracking, run.run_id).info.status for run in (parent, child)} == {"FINISHED"}


def test_a_rerun_reopens_the_runs_of_its_night(tracking):
    """The same night and stage give the same run ids, another night others; a run id that is gone falls back."""
    ids = []
    for _ in range(2):
        with tracking.parent_run("night-b") as parent, tracking.stage_run("embed", parent.run_id) as child:
            ids.append((parent.run_id, child.run_id))
            assert info(tracking, parent.run_id).info.status == "RUNNING"
    assert ids[0] == ids[1]
    with tracking.parent_run("night-c") as other, tracking.stage_run("embed", other.run_id) as child:
        assert {other.run_id, child.run_id}.isdisjoint(ids[0])
    with tracking.parent_run("night-b", run_id="0" * 32) as again:
        assert again.run_id == ids[0][0]
    with tracking.parent_run("night-d", run_id=ids[0][0]) as named:
        assert named.run_id == ids[0][0]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_error_marks_the_run_and_a_rerun_heals_it(tracking, error, status):
    """What was buffered is written before the run is closed, and the error goes on."""

    def night():
        with tracking.parent_run(f"night-{status}") as run:
            started.append(run.run_id)
            run.log_metrics({"loss": 0.5}, step=3)
            raise error

    started = []
    with pytest.raises(error):
        night()
    found = info(tracking, started[0])
    assert (found.info.status, found.data.metrics) == (status, {"loss": 0.5})
    with tracking.parent_run(f"night-{status}") as again:
        assert again.run_id == started[0]
    assert info(tracking, started[0]).info.status == "FINISHED"


def test_a_step_called_alone_has_a_run_of_its_own(tracking):
    """Without a parent nothing is re-opened."""
    with tracking.stage_run("evaluate") as one:
        pass
    with tracking.stage_run("evaluate") as two:
        pass
    assert one.run_id != two.run_id


def test_everything_logged_is_there(tracking, home, tmp_path):
    """Parameters, metrics over time, images, files, data set digests and tags, below the fixed artifact root."""
    (tmp_path / "report.html").write_text("<p>")
    with tracking.parent_run("night-e") as run:
        run.log_params({"train": {"lr": 0.1}})
        for step in (1, 2):
            run.log_metrics({"loss": 1 / step, "nan": float("nan")}, step=step)
            run.log_image(np.full((8, 8, 3), 200, dtype=np.uint8), key="samples", step=step)
        run.log_artifact(tmp_path / "report.html")
        run.log_artifact(tmp_path, folder="all")
        run.log_dict({"a": 1}, name="config.json")
        run.log_input("history", digest="d" * 64, source="sqlite:///x", context="training")
        run.set_tags({"simulated": True})
    found = info(tracking, run.run_id)
    assert found.data.params == {"train.lr": "0.1"}
    history = tracking.client.get_metric_history(run.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert found.data.tags["simulated"] == "True"
    assert [(i.dataset.name, i.dataset.digest) for i in found.inputs.dataset_inputs] == [("history", "d" * 36)]
    root = Path(found.info.artifact_uri.removeprefix("file://"))
    assert root.is_relative_to(home / "data" / "mlartifacts")
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert {"report.html", "all/report.html", "config.json"} <= files
    assert sum(name.startswith("images/samples") and name.endswith(".png") for name in files) == 2


def test_registering_twice_makes_one_version(registry, run_id, tmp_path):
    """A rerun finds the version by its run and weights; other weights of the same run are another version."""
    folder = trained(tmp_path / "a")
    first = registry.register(folder, run_id=run_id, export=exportable(), tags={"night": "a"})
    assert registry.register(folder, run_id=run_id, export=exportable()) == first
    assert (first.version, first.run_id, first.tags["night"]) == (1, run_id, "a")
    second = registry.register(trained(tmp_path / "b", 2.0), run_id=run_id, export=exportable(2.0))
    assert [version.version for version in registry.list_versions()] == [1, 2]
    assert registry.get(2) == second
    assert first.generator_sha256 != second.generator_sha256


@pytest.mark.parametrize("stop", ["save_pt2", "log_model_artifacts", "finalize_logged_model", "create_model_version"])
def test_a_killed_registration_is_completed_by_the_rerun(registry, run_id, tmp_path, monkeypatch, stop):
    """Killed before any of its steps: one version in the end, one finished model, no half one left."""
    folder, client = trained(tmp_path / "a"), registry.tracking.client

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models_module if stop == "save_pt2" else client, stop, killed)
        with pytest.raises(KeyboardInterrupt):
            registry.register(folder, run_id=run_id, export=exportable())
    assert registry.list_versions() == []
    version = registry.register(folder, run_id=run_id, export=exportable())
    assert [found.version for found in registry.list_versions()] == [version.version] == [1]
    logged = client.search_logged_models([registry.tracking.experiment_id], f"source_run_id = '{run_id}'")
    assert [(model.model_id, str(model.status)) for model in logged] == [(version.model_id, "READY")]
    assert registry.fetch(1).is_dir()


def test_a_version_carries_weights_card_and_basis(registry, run_id, tmp_path):
    """`fetch` gives back the folder as it was registered, in place or as a copy, and notices damage."""
    folder = trained(tmp_path / "a")
    registry.register(folder, run_id=run_id, export=exportable())
    for fetched in (registry.fetch(1), registry.fetch(1, into=tmp_path / "copy")):
        for name in ("generator.safetensors", "card.json", "basis/basis.json"):
            assert (fetched / name).read_bytes() == (folder / name).read_bytes()
    assert registry.fetch(1, into=tmp_path / "copy").is_relative_to(tmp_path / "copy")
    (registry.fetch(1) / "generator.safetensors").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="do not belong together"):
        registry.fetch(1)


def test_weights_must_be_those_of_the_card(registry, run_id, tmp_path):
    """A folder mixed from two trainings is refused before MLflow hears of it."""
    folder = trained(tmp_path / "a")
    (folder / "generator.safetensors").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="Nothing was registered"):
        registry.register(folder, run_id=run_id, export=exportable())
    assert registry.list_versions() == []


@pytest.mark.parametrize("fault", ["training", "one row", "names"])
def test_what_cannot_be_exported_is_refused(registry, run_id, tmp_path, fault):
    """Training mode is baked into an export, a batch of one becomes a constant, unnamed inputs have no signature."""
    module, inputs = Toy(1.0).eval(), (torch.randn(2, 5), torch.randn(2, 3))
    export = {
        "training": Exportable(Toy(1.0).train(), inputs, ("z", "preference")),
        "one row": Exportable(module, (torch.randn(1, 5), torch.randn(1, 3)), ("z", "preference")),
        "names": Exportable(module, inputs, ("z",)),
    }[fault]
    with pytest.raises(RegistryError, match="Nothing was registered"):
        registry.register(trained(tmp_path / "a"), run_id=run_id, export=export)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_no_onnx_file_is_written(tmp_path, monkeypatch, package):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RegistryError, match=r"personalgen\[onnx\]"):
        save_onnx(exportable(), tmp_path / "v.onnx", facts={})
    assert list(tmp_path.iterdir()) == []


class Moody(Toy):
    """Traced like Toy, but another picture whenever it is called."""

    def forward(self, z, *values):
        if torch.compiler.is_compiling():
            return super().forward(z, *values)
        return super().forward(z, *values) + torch.rand(())


def test_an_onnx_file_that_draws_other_pictures_is_not_written(tmp_path):
    """It is compared with the module before it exists."""
    with pytest.raises(RegistryError, match="other images"):
        save_onnx(
            Exportable(Moody(1.0).eval(), (torch.randn(2, 5), torch.randn(2, 3)), ("z", "preference")),
            tmp_path / "v.onnx",
            facts={},
        )
    assert list(tmp_path.iterdir()) == []


class Frozen(Toy):
    def forward(self, z, *values):
        return super().forward(z, *values)[: len(z)] if len(z) == 2 else super().forward(z, *values)


def test_an_export_that_froze_the_batch_size_is_refused(registry, run_id, tmp_path):
    """torch.export turns len(tensor) into a constant without a word; the check of another batch size finds it."""
    frozen = Exportable(Frozen(1.0).eval(), (torch.randn(2, 5), torch.randn(2, 3)), ("z", "preference"))
    with pytest.raises(RegistryError, match="batch"):
        registry.register(trained(tmp_path / "a"), run_id=run_id, export=frozen)
    assert registry.list_versions() == []


def test_the_generator_round_trips_through_pt2(registry, run_id, tmp_path):
    """The exported generator draws the images of the safetensors one, at any batch size, with pickle refused."""
    torch.manual_seed(0)
    generator = build_generator(ModelOptions(8, 4, 8, 8, 16), ConditionSpec.vector("preference", 3)).eval()
    save_generator(tmp_path / "g", generator, basis_version="b1", trained_kimg=0.0)
    plain = TensorGenerator(generator).eval()
    export = Exportable(plain, plain.example_inputs(), plain.input_names)
    registry.register(tmp_path / "g", run_id=run_id, export=export)
    loaded, (again, _) = registry.load_pt2(1), load_generator(registry.fetch(1))
    given = plain.example_inputs(5, seed=1)
    with torch.inference_mode():
        assert torch.allclose(loaded(*given), TensorGenerator(again)(*given), atol=1e-5)


def test_a_version_has_a_tensor_signature_and_no_pickle(registry, run_id, tmp_path):
    """Names, dtypes and a free batch size stand in MLmodel; no file of the model is a pickle."""
    registry.register(trained(tmp_path / "a"), run_id=run_id, export=exportable())
    folder = registry.fetch(1).parent
    text = (folder / "MLmodel").read_text()
    assert '"name": "z"' in text
    assert '"name": "preference"' in text
    assert '"shape": [-1, 3, 4, 4]' in text
    assert {path.suffix for path in folder.rglob("*")}.isdisjoint({".pkl", ".pth", ".pt", ".pickle"})


def test_aliases_move_from_challenger_to_champion(registry, tracking, tmp_path):
    """A promoted challenger is the champion and no challenger any more; another challenger stays."""
    assert registry.aliases() == {}
    two_versions(registry, tracking, tmp_path)
    registry.set_challenger(1)
    assert registry.aliases() == {"challenger": 1}
    registry.set_champion(1)
    assert registry.aliases() == {"champion": 1}
    registry.set_challenger(2)
    registry.set_champion(1)
    assert registry.aliases() == {"champion": 1, "challenger": 2}


def test_reconcile_follows_what_is_live(registry, tracking, tmp_path):
    """Whatever a crash left, the champion alias becomes the live version; a second call finds nothing to repair."""
    assert registry.reconcile(None) == ()
    two_versions(registry, tracking, tmp_path)
    registry.set_challenger(2)
    assert registry.reconcile(2) == ("champion: None -> 2", "challenger: 2 -> None")
    assert registry.reconcile(2) == ()
    assert registry.reconcile(1) == ("champion: 2 -> 1",)
    assert registry.reconcile(None) == ("champion: 1 -> None",)
    with pytest.raises(NotFoundError, match="no version 9"):
        registry.reconcile(9)


def test_versions_carry_tags(registry, run_id, tmp_path):
    """The gate's verdict can stand on the version; a version that does not exist cannot be tagged."""
    registry.register(trained(tmp_path / "a"), run_id=run_id, export=exportable())
    registry.tag(1, "gate", "held")
    assert registry.get(1).tags["gate"] == "held"
    with pytest.raises(NotFoundError):
        registry.tag(7, "gate", "held")


def test_a_deleted_experiment_is_named(tracking, home):
    """The advice is how to bring it back; nothing is made behind the user's back."""
    gone = tracking.client.create_experiment("gone")
    tracking.client.delete_experiment(gone)
    with pytest.raises(RegistryError, match=f"restore -x {gone}"):
        _ = Tracking(tracking.uri, home / "data" / "mlartifacts", "gone").experiment_id


@pytest.mark.slow
def test_two_processes_can_make_the_store_at_once(tmp_path):
    """They agree on one experiment, the database is whole, and nobody hears of MLflow's migrations."""
    code = textwrap.dedent(
        f"""
        from pathlib import Path
        from personalgen.registry.tracking import Tracking
        tracking = Tracking("sqlite:///{tmp_path}/mlflow.db", Path("{tmp_path}/a"), "personalgen")
        with tracking.parent_run("night") as run:
            print(tracking.experiment_id)
        """
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(2)]
    printed = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert printed == [("1\n", "")] * 2
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()
