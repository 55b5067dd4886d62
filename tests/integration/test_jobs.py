"""A training as files: written, trained by `python -m personalgen.training`, and taken back into its night."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from personalgen.artifacts import canonical_json
from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.errors import ArtifactError
from personalgen.models import ModelOptions
from personalgen.training import Job, TrainingOptions, TrainingPairs, load_job, save_job, save_start, train
from personalgen.training.__main__ import main
from personalgen.training.checkpoints import seen_images
from personalgen.training.dataset import Behaviour
from personalgen.training.job import JOB, PAIRS
from personalgen.training.state import CHECKPOINT, load_checkpoint, new_state

SPEC = ConditionSpec(
    (
        FieldSpec("taste", "vector", 5),
        FieldSpec("kind", "label", 3),
        FieldSpec("history", "sequence", 4, longest=6),
    )
)
MODEL = ModelOptions(resolution=8, z_dim=6, style_dim=16, width=8, max_width=8, discriminator_width=8, group_size=2)
OPTIONS = TrainingOptions(
    max_kimg=0.032,
    batch_size=8,
    device="cpu",
    precision="fp32",
    threads=1,
    feature_weight=0.0,
    field_dropout={"kind": 0.2},
    snapshot_kimg=0.016,
    mismatch_weight=0.2,
    contrast_weight=0.0,
)


@pytest.fixture
def job():
    """Return a training on every kind of field, some values absent."""
    rng = np.random.default_rng(0)
    behaviour = Behaviour(
        name="history",
        longest=6,
        item_features=torch.randn(7, 2),
        item_of_event=torch.randint(7, (40,)),
        weight_of_event=torch.ones(40),
        day_of_event=torch.arange(40.0),
        start_of_pair=torch.arange(20),
        stop_of_pair=torch.arange(20) + 5,
    )
    pairs = TrainingPairs.of(
        rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
        rng.integers(0, 6, 20),
        np.repeat(np.arange(4), 5),
        of_pair={"taste": rng.normal(size=(20, 5)).astype(np.float32)},
        of_image={"kind": np.eye(3, dtype=np.float32)[rng.integers(0, 3, 6)]},
        absent={"taste": np.arange(20) < 3},
        behaviour=behaviour,
    )
    return Job(pairs, SPEC, MODEL, OPTIONS)


def test_a_job_comes_back_as_it_was_written(job, tmp_path):
    """Pairs with masks and sequences, the condition's specification, nets and options; nothing of it is a pickle."""
    save_job(tmp_path, job)
    found = load_job(tmp_path)
    assert (found.spec, found.model, found.options) == (job.spec, job.model, job.options)
    assert found.pairs.digest() == job.pairs.digest()
    assert {path.name for path in tmp_path.iterdir()} == {JOB, PAIRS}
    batches = [each.pairs.draw(8, 2, rng=torch.Generator().manual_seed(1)) for each in (job, found)]
    for values in ("values", "masks"):
        first, second = (getattr(batch.condition, values) for batch in batches)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(batches[0].images, batches[1].images)


def test_the_module_trains_a_job_as_the_loop_does(job, tmp_path, capsys):
    """In two slices, from the start that came with it: the checkpoint is that of `train`, tensor by tensor."""
    save_job(tmp_path / "job", job)
    save_start(tmp_path / "job", job)
    assert seen_images(tmp_path / "job") == 0
    assert main([str(tmp_path / "job"), "--max-kimg", "0.016"]) == 75
    assert main([str(tmp_path / "job"), "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert [json.loads(line)["seen_img"] for line in told.out.splitlines()] == [16, 32]
    assert "Run it again to go on" in told.err
    assert "checkpoint.safetensors into the night's train folder" in told.err
    train(job, folder=tmp_path / "loop")
    found, expected = (load_file(tmp_path / name / CHECKPOINT) for name in ("job", "loop"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_folder_without_a_job_is_named(job, tmp_path, capsys):
    """Also where the job's own file was given instead of its folder."""
    save_job(tmp_path, job)
    for place in (tmp_path / "nowhere", tmp_path / "job.json"):
        assert main([str(place)]) == 1
        assert "personalgen train --job-only" in capsys.readouterr().err


def sliced(job):
    """Return the job with a run that ends after the first two of its four steps."""
    return dataclasses.replace(job, options=dataclasses.replace(job.options, slice_kimg=0.016))


def test_a_start_that_is_there_stays(job, tmp_path):
    """Writing the job of a training that is half done again does not throw it back."""
    train(sliced(job), folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    save_start(tmp_path, job, lambda _: pytest.fail("warm start after a checkpoint"))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def damage_options(folder):
    raw = json.loads((folder / JOB).read_text())
    raw["train"]["batchsize"] = 8
    (folder / JOB).write_text(json.dumps(raw))


def damage_pairs(folder):
    tensors = load_file(folder / PAIRS)
    tensors["images"][0] = 0
    save_file(tensors, folder / PAIRS)


def cut_pairs(folder):
    (folder / PAIRS).write_bytes((folder / PAIRS).read_bytes()[:-40])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_options, "batchsize"),
        (damage_pairs, "not copied whole"),
        (cut_pairs, "does not hold a training job"),
        (shutil.rmtree, "holds no job.json"),
    ],
)
def test_a_job_that_is_not_whole_is_refused(job, tmp_path, capsys, damage, says):
    """A wrong digest, a cut file, an unknown option or no job at all: one line, and nothing is trained."""
    folder = tmp_path / "job"
    save_job(folder, job)
    damage(folder)
    with pytest.raises(ArtifactError, match=says):
        load_job(folder)
    assert main([str(folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert seen_images(folder) == 0


def test_a_checkpoint_of_another_kind_of_device_is_gone_on_from(job, tmp_path):
    """Its random numbers have no place on this one: others begin, the same ones whenever it is loaded."""
    train(sliced(job), folder=tmp_path)
    tensors = load_file(tmp_path / CHECKPOINT)
    tensors["rng"] = torch.zeros(16, dtype=torch.uint8)  # as long as a GPU's
    clock = {"seen_img": "16", "start_kimg": "0.0", "rollbacks": "0", "training": canonical_json(job.identity)}
    save_file(tensors, tmp_path / CHECKPOINT, metadata=clock)
    states = [new_state(job, device=torch.device("cpu")) for _ in range(3)]
    assert all(load_checkpoint(tmp_path, state) for state in states[:2])
    draws = [torch.rand(4, generator=state.rng) for state in states]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert states[0].seen_img == 16


@pytest.fixture
def away(new_home):
    """Return a home whose night is embedded."""
    home = new_home()
    for command in ("prepare", "embed"):
        assert home.tell(command).code == 0
    return home


@pytest.mark.timeout(110, func_only=True)
def test_a_night_s_training_goes_elsewhere_and_comes_back(away, first_night, tmp_path):
    """`train --job-only`, `python -m personalgen.training`, the checkpoint back, `train`: a night's own model."""
    folder = Path(json.loads(away.tell("train", "--job-only", "--json").out)["folder"])
    assert {path.name for path in folder.iterdir()} == {CHECKPOINT, JOB, PAIRS}
    assert "torchrun" in away.tell("train", "--job-only").out
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert main([str(tmp_path / "elsewhere")]) == 0
    shutil.copy(tmp_path / "elsewhere" / CHECKPOINT, folder)
    found = json.loads(away.tell("train", "--json").out)
    (path,) = [each for each in first_night.state.files if "/nights/" in each and each.endswith("/train.json")]
    expected = json.loads((first_night.home.path / path).read_text())
    assert found["generator_sha256"] == expected["generator_sha256"]
    assert found["kimg"] == expected["kimg"] == 0.064
