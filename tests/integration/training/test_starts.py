"""What a training starts from and goes on from, and what it refuses before its first step."""

import dataclasses
import re

import numpy as np
import pytest
from safetensors.torch import save_file

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.errors import ArtifactError, ConfigError
from personalgen.models import save_generator
from personalgen.training import Job, TrainingPairs, save_companions, start_from, train
from personalgen.training.checkpoints import CHECKPOINT

NAMED = ConditionSpec((FieldSpec("taste", "vector", 5, values=tuple("abcde")),))


OTHER_TRAININGS = {
    "nets": ({"model": {"max_width": 16}}, "model.max_width was 8 and is 16"),
    "settings": (
        {"options": {"learning_rate": 2e-3, "flip": False}},
        "train.flip was true and is false; train.learning_rate was 0.001 and is 0.002",
    ),
    "fields": ({"spec": NAMED}, "its fields are others"),
}


@pytest.mark.parametrize("name", OTHER_TRAININGS)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, run, name, model, four_steps, a_moment):
    """Even where nets have the same shapes: an ArtifactError says what is not the same, and the checkpoint stays."""
    run(tmp_path, a_moment)
    before = (tmp_path / CHECKPOINT).read_bytes()
    changes, says = OTHER_TRAININGS[name]
    own = {"model": model, "options": four_steps}
    changed = {part: dataclasses.replace(own[part], **new) if part in own else new for part, new in changes.items()}
    with pytest.raises(ArtifactError, match=re.escape(f"belongs to another training: {says}. Go on with what wrote")):
        run(tmp_path, **changed)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_of_other_pairs_is_refused(tmp_path, run, pairs, a_moment):
    """One picture that is brighter makes another training of it."""
    run(tmp_path, a_moment)
    images = pairs.images.clone()
    images[0, 0, 0, 0] ^= 1
    with pytest.raises(ArtifactError, match="belongs to another training: its pairs are others"):
        run(tmp_path, pairs=dataclasses.replace(pairs, images=images))


def test_a_checkpoint_that_names_no_training_is_refused(tmp_path, run, a_moment, checkpoint):
    """As an earlier version wrote it."""
    run(tmp_path, a_moment)
    save_file(checkpoint(tmp_path), tmp_path / CHECKPOINT, metadata={"seen_img": "8"})
    with pytest.raises(ArtifactError, match="an earlier version wrote it"):
        run(tmp_path)


def test_a_training_goes_on_in_other_slices_and_at_another_speed(tmp_path, run, a_moment):
    """What changes no result makes no other training."""
    run(tmp_path, a_moment)
    result = run(tmp_path, dataclasses.replace(a_moment, max_minutes=0.0, threads=2, compile="off", groups_together=2))
    assert result.finished


def test_a_batch_that_groups_do_not_divide_is_refused(tmp_path, run, four_steps):
    """The error says which two settings do not fit; nothing is written."""
    with pytest.raises(ConfigError, match=r"train: batch_size must be a multiple .* found 9"):
        run(tmp_path, dataclasses.replace(four_steps, batch_size=9))
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_size_are_refused(tmp_path, run, model):
    """The error says both sizes; nothing is written."""
    with pytest.raises(ConfigError, match=r"8 pixels wide, model\.resolution is 16"):
        run(tmp_path, model=dataclasses.replace(model, resolution=16))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "least"),
    [({}, 4), ({"user_mixup": 0.5}, 8), ({"mismatch_weight": 0.0, "contrast_weight": 1.0}, 4)],
    ids=["mismatch", "mixup", "contrast"],
)
def test_a_batch_without_other_people_is_refused_where_they_are_compared(tmp_path, run, changes, least, four_steps):
    """Two people, or four that are blended with each other, are the least; without such a loss one is enough."""
    options = dataclasses.replace(four_steps, **changes)
    with pytest.raises(ConfigError, match=f"batch_size must be at least {least}"):
        run(tmp_path / "few", dataclasses.replace(options, batch_size=least - 2))
    assert run(tmp_path / "enough", dataclasses.replace(options, batch_size=least)).finished
    alone = dataclasses.replace(options, batch_size=2, mismatch_weight=0.0, contrast_weight=0.0)
    assert run(tmp_path / "alone", alone).finished


def test_a_device_that_is_not_there_is_refused(tmp_path, run, four_steps):
    """With what there is."""
    with pytest.raises(ConfigError, match=r"train\.device must be one of auto, cpu.*found 'cuda:99'"):
        run(tmp_path, dataclasses.replace(four_steps, device="cuda:99"))


def test_the_shortest_training_takes_one_step(tmp_path, run, four_steps):
    """A part of an image is more than none."""
    assert run(tmp_path, dataclasses.replace(four_steps, max_kimg=1e-4)).seen_img == 8


@pytest.fixture
def start(tmp_path, run):
    """Return the folder of a model that was trained for four steps."""
    result = run(tmp_path / "first")
    save_generator(tmp_path / "model", result.generator, basis_version="b", trained_kimg=result.trained_kimg)
    save_companions(tmp_path / "model", tmp_path / "first")
    return tmp_path / "model"


def test_a_warm_start_goes_on_from_a_trained_model(tmp_path, run, start, a_moment, checkpoint):
    """The first average is the saved one but for one step, and the images of before are counted."""
    other_seed = dataclasses.replace(a_moment, seed=9)
    warm = run(tmp_path / "warm", other_seed, warm_start=lambda state: start_from(start, state))
    cold = run(tmp_path / "cold", other_seed)
    saved = checkpoint(tmp_path / "first")["average.basis"]
    assert warm.trained_kimg == pytest.approx(0.040)
    assert (warm.generator.basis - saved).norm() < 0.01 * (cold.generator.basis - saved).norm()


def test_a_resumed_training_is_not_started_anew(tmp_path, run, start, a_moment):
    """Where there is a checkpoint, the model to start from is not even opened."""
    run(tmp_path / "warm", a_moment, warm_start=lambda state: start_from(start, state))
    result = run(tmp_path / "warm", warm_start=lambda _: pytest.fail("warm start after a checkpoint"))
    assert result.trained_kimg == pytest.approx(0.064)


def test_a_smaller_model_grows(tmp_path, run, start, a_moment, model, spec, checkpoint):
    """A 16 px model starts from an 8 px one, trains, and keeps what it took over in shape."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    vectors = np.zeros((2, 5), dtype=np.float32)
    large = TrainingPairs.of(pictures, np.arange(2), np.arange(2), of_pair={"taste": vectors})
    job = Job(large, spec, dataclasses.replace(model, resolution=16), a_moment)
    result = train(job, folder=tmp_path / "large", warm_start=lambda state: start_from(start, state))
    saved = checkpoint(tmp_path / "first")["average.stages.px8.blocks.0.first.weight"]
    grown = result.generator.stages["px8"].blocks[0].first.weight
    assert (grown - saved).norm() < 0.05 * saved.norm()
    assert result.generator.resolution == 16
    assert result.trained_kimg == pytest.approx(0.040)


def test_frozen_features_resume_as_well(tmp_path, run, four_steps, checkpoint, equal):
    """With the second discriminator two steps are twice one step, bit for bit."""
    options = dataclasses.replace(four_steps, max_kimg=0.016, feature_weight=1.0, feature_px=32)
    run(tmp_path / "whole", options)
    for _ in range(2):
        run(tmp_path / "parts", dataclasses.replace(options, max_minutes=1e-9))
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
